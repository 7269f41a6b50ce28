// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// What the carries of a doubled tweak add: x^128 = x^7 + x^2 + x + 1 to its low half, and 1 to its high half.
DATA reduction<>+0(SB)/8, $0x87
DATA reduction<>+8(SB)/8, $1
GLOBL reduction<>(SB), RODATA|NOPTR, $16

// TWEAK stores the tweak of block I of the next group, and doubles it: the highest bits of both halves, each in all
// bits of a word, select what is added.
#define TWEAK(I) \
	MOVO   X9, (I*16)(R9)  \
	PSHUFD $0x13, X9, X10  \
	PSRAL  $31, X10        \
	PAND   X11, X10        \
	PADDQ  X9, X9          \
	PXOR   X10, X9

// BEGIN adds tweak and first key to block I in register B.
#define BEGIN(I, B) \
	MOVOU (I*16)(SI), B \
	PXOR  (I*16)(R8), B \
	PXOR  X8, B

#define ROUND(R, INSTRUCTION) \
	MOVOU       (R*16)(AX), X8 \
	INSTRUCTION X8, X0         \
	INSTRUCTION X8, X1         \
	INSTRUCTION X8, X2         \
	INSTRUCTION X8, X3         \
	INSTRUCTION X8, X4         \
	INSTRUCTION X8, X5         \
	INSTRUCTION X8, X6         \
	INSTRUCTION X8, X7

// END adds the tweak to block I and stores it.
#define END(I, B) \
	PXOR  (I*16)(R8), B \
	MOVOU B, (I*16)(DI)

// func encryptAES(keys *roundKeys, dst, src *byte, n int, tweak *[16]byte)
TEXT ·encryptAES(SB), NOSPLIT, $272-40
	MOVQ  keys+0(FP), AX
	MOVQ  dst+8(FP), DI
	MOVQ  src+16(FP), SI
	MOVQ  n+24(FP), CX
	MOVQ  tweak+32(FP), BX
	MOVOU (BX), X9
	MOVOU reduction<>(SB), X11

	// Two groups of eight tweaks on the stack, aligned for PXOR: those of this group of blocks, at R8, and those of the
	// next one, at R9, which are computed while this one is encrypted.
	LEAQ 15(SP), R9
	ANDQ $~15, R9
	LEAQ 128(R9), R8
	TWEAK(0)
	TWEAK(1)
	TWEAK(2)
	TWEAK(3)
	TWEAK(4)
	TWEAK(5)
	TWEAK(6)
	TWEAK(7)

loop:
	XCHGQ R8, R9
	MOVOU (AX), X8
	BEGIN(0, X0)
	BEGIN(1, X1)
	BEGIN(2, X2)
	BEGIN(3, X3)
	BEGIN(4, X4)
	BEGIN(5, X5)
	BEGIN(6, X6)
	BEGIN(7, X7)
	ROUND(1, AESENC)
	TWEAK(0)
	ROUND(2, AESENC)
	TWEAK(1)
	ROUND(3, AESENC)
	TWEAK(2)
	ROUND(4, AESENC)
	TWEAK(3)
	ROUND(5, AESENC)
	TWEAK(4)
	ROUND(6, AESENC)
	TWEAK(5)
	ROUND(7, AESENC)
	TWEAK(6)
	ROUND(8, AESENC)
	TWEAK(7)
	ROUND(9, AESENC)
	ROUND(10, AESENC)
	ROUND(11, AESENC)
	ROUND(12, AESENC)
	ROUND(13, AESENC)
	ROUND(14, AESENCLAST)
	END(0, X0)
	END(1, X1)
	END(2, X2)
	END(3, X3)
	END(4, X4)
	END(5, X5)
	END(6, X6)
	END(7, X7)
	ADDQ  $128, SI
	ADDQ  $128, DI
	DECQ  CX
	JNZ   loop
	MOVO  (R9), X9
	MOVOU X9, (BX)
	RET

// func substitute(word uint32) uint32
TEXT ·substitute(SB), NOSPLIT, $0-12
	MOVL            word+0(FP), X0
	PSHUFD          $0, X0, X0
	AESKEYGENASSIST $0, X0, X0
	MOVL            X0, ret+8(FP)
	RET
