// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

func TestFilterJudgesByCallAndFlags(t *testing.T) {
	t.Parallel()
	const arch, other = unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_AARCH64
	vm, err := bpf.NewVM(instructions(map[Key]Call{
		{arch, 1}:  {Op: opMissing, Flags: NoArg},
		{arch, 2}:  {Op: OpOpen, Flags: 2},
		{arch, 3}:  {Op: OpOpen, Flags: NoArg},
		{arch, 4}:  {Op: OpLook, Flags: 4},
		{other, 5}: {Op: OpLook, Flags: NoArg},
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		arch, nr uint32
		arg      int
		flags    uint32
		want     bpf.RetConstant
	}{
		{"a call that is missing", arch, 1, 0, 0, enosys},
		{"a file that is opened", arch, 2, 2, unix.O_RDWR | unix.O_DIRECTORY, allow},
		{"a file that is made", arch, 2, 2, unix.O_RDWR | unix.O_CREAT, ask},
		{"a file without a name", arch, 2, 2, unix.O_RDWR | unix.O_TMPFILE, ask},
		{"flags elsewhere", arch, 2, 1, unix.O_CREAT, allow},
		{"open whose flags are not in an argument", arch, 3, 0, 0, ask},
		{"a path", arch, 4, 4, unix.AT_SYMLINK_NOFOLLOW, ask},
		{"a descriptor", arch, 4, 4, unix.AT_EMPTY_PATH, allow},
		{"a call that is not listed", arch, 5, 0, 0, allow},
		{"the same number elsewhere", other, 5, 0, 0, ask},
		{"a number of the other machine", other, 1, 0, 0, allow},
		{"an unknown machine", unix.AUDIT_ARCH_RISCV64, 1, 0, 0, allow},
	} {
		// The machine of x/net/bpf reads words as those of a packet, in network order.
		data := make([]byte, unsafe.Sizeof(Data{}))
		binary.BigEndian.PutUint32(data[offsetArch:], tt.arch)
		binary.BigEndian.PutUint32(data[offsetNr:], tt.nr)
		binary.BigEndian.PutUint32(data[offsetLow(tt.arg):], tt.flags)
		if got, err := vm.Run(data); err != nil || uint32(got) != tt.want.Val {
			t.Errorf("%s: got %#x, %v, want %#x", tt.name, got, err, tt.want.Val)
		}
	}
}
