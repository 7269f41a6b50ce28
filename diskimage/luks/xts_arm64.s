// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// TWEAK stores the tweak, whose halves are in R5 and R6, in register T, and doubles it: x^128 = x^7 + x^2 + x + 1.
#define TWEAK(T) \
	VMOV R5, T.D[0]       \
	VMOV R6, T.D[1]       \
	ASR  $63, R6, R7      \
	AND  $0x87, R7        \
	EXTR $63, R5, R6, R6  \
	EOR  R5<<1, R7, R5

#define ROUND(K) \
	AESE  K.B16, V0.B16  \
	AESMC V0.B16, V0.B16 \
	AESE  K.B16, V1.B16  \
	AESMC V1.B16, V1.B16 \
	AESE  K.B16, V2.B16  \
	AESMC V2.B16, V2.B16 \
	AESE  K.B16, V3.B16  \
	AESMC V3.B16, V3.B16 \
	AESE  K.B16, V4.B16  \
	AESMC V4.B16, V4.B16 \
	AESE  K.B16, V5.B16  \
	AESMC V5.B16, V5.B16 \
	AESE  K.B16, V6.B16  \
	AESMC V6.B16, V6.B16 \
	AESE  K.B16, V7.B16  \
	AESMC V7.B16, V7.B16

// END is the last round of block B, whose tweak is in register T.
#define END(B, T) \
	AESE V29.B16, B.B16         \
	VEOR V30.B16, T.B16, T.B16  \
	VEOR T.B16, B.B16, B.B16

// func encryptAES(keys *roundKeys, dst, src *byte, n int, tweak *[16]byte)
TEXT ·encryptAES(SB), NOSPLIT, $0-40
	MOVD   keys+0(FP), R0
	MOVD   dst+8(FP), R1
	MOVD   src+16(FP), R2
	MOVD   n+24(FP), R3
	MOVD   tweak+32(FP), R4
	LDP    (R4), (R5, R6)
	VLD1.P 64(R0), [V16.B16, V17.B16, V18.B16, V19.B16]
	VLD1.P 64(R0), [V20.B16, V21.B16, V22.B16, V23.B16]
	VLD1.P 64(R0), [V24.B16, V25.B16, V26.B16, V27.B16]
	VLD1   (R0), [V28.B16, V29.B16, V30.B16]

loop:
	VLD1.P 64(R2), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R2), [V4.B16, V5.B16, V6.B16, V7.B16]
	TWEAK(V8)
	TWEAK(V9)
	TWEAK(V10)
	TWEAK(V11)
	TWEAK(V12)
	TWEAK(V13)
	TWEAK(V14)
	TWEAK(V15)
	VEOR   V8.B16, V0.B16, V0.B16
	VEOR   V9.B16, V1.B16, V1.B16
	VEOR   V10.B16, V2.B16, V2.B16
	VEOR   V11.B16, V3.B16, V3.B16
	VEOR   V12.B16, V4.B16, V4.B16
	VEOR   V13.B16, V5.B16, V5.B16
	VEOR   V14.B16, V6.B16, V6.B16
	VEOR   V15.B16, V7.B16, V7.B16
	ROUND(V16)
	ROUND(V17)
	ROUND(V18)
	ROUND(V19)
	ROUND(V20)
	ROUND(V21)
	ROUND(V22)
	ROUND(V23)
	ROUND(V24)
	ROUND(V25)
	ROUND(V26)
	ROUND(V27)
	ROUND(V28)
	END(V0, V8)
	END(V1, V9)
	END(V2, V10)
	END(V3, V11)
	END(V4, V12)
	END(V5, V13)
	END(V6, V14)
	END(V7, V15)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R1)
	VST1.P [V4.B16, V5.B16, V6.B16, V7.B16], 64(R1)
	SUBS   $1, R3
	BNE    loop
	STP    (R5, R6), (R4)
	RET

// func substitute(word uint32) uint32
TEXT ·substitute(SB), NOSPLIT, $0-12
	MOVWU word+0(FP), R0
	VDUP  R0, V0.S4                 // four equal columns: the rows of the state are shifted, and stay the same
	VEOR  V1.B16, V1.B16, V1.B16
	AESE  V1.B16, V0.B16
	VMOV  V0.S[0], R0
	MOVW  R0, ret+8(FP)
	RET
