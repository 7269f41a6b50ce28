// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

func TestOpenDiskReadsFormatsOfQEMU(t *testing.T) {
	t.Parallel()
	diskimagetest.Tool(t, "qemu-nbd")
	diskimagetest.Tool(t, "qemu-img")
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	content := append(bytes.Repeat([]byte("0123456789abcdef"), 1<<16), make([]byte, 1<<20)...)
	copy(content[len(content)-5:], "last\n")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"qcow2", "vmdk", "vdi", "vhdx"} {
		image := filepath.Join(dir, "image."+format)
		diskimagetest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", format, raw, image)
		disk, err := vm.OpenDisk(t.Context(), image, format, t.TempDir())
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		got := make([]byte, len(content))
		if n, err := disk.ReadAt(got, 0); err != nil || disk.Size != int64(len(content)) || !bytes.Equal(got, content) {
			t.Errorf("%s: a disk of %d bytes, %d read (%v): not what was written", format, disk.Size, n, err)
		}
		if _, err := disk.ReadAt(got, disk.Size); err == nil {
			t.Errorf("%s: read after the end", format)
		}
		if err := disk.Close(); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
	if _, err := vm.OpenDisk(t.Context(), raw, "qcow2", dir); err == nil || !strings.Contains(err.Error(), "qcow2") {
		t.Errorf("a raw image opened as qcow2: %v", err)
	}
}
