// SPDX-License-Identifier: Apache-2.0

package run

import (
	"debug/elf"
	"testing"
)

// TestBinfmtFormatIsQemus compares with scripts/qemu-binfmt-conf.sh of QEMU, but for the ABI's version, which
// that wants to be 0.
func TestBinfmtFormatIsQemus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header elf.FileHeader
		want   string
	}{
		{
			elf.FileHeader{Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_AARCH64},
			`:foreign:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00` +
				`:\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:`,
		},
		{
			elf.FileHeader{Class: elf.ELFCLASS64, Data: elf.ELFDATA2MSB, Machine: elf.EM_S390},
			`:foreign:M::\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16` +
				`:\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:`,
		},
	} {
		if got := binfmtFormat(tt.header); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.header.Machine, got, tt.want)
		}
	}
}
