// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ulikunitz/xz/lzma"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// coreParts splits the output of Image and grub-mkimage: the sector that loads the rest, the
// decompressor, and the decompressed data.
func coreParts(t *testing.T, core []byte, decompressorSize int) (start, decompressor, plain []byte) {
	t.Helper()
	start, decompressor = core[:sectorSize], bytes.Clone(core[sectorSize:][:decompressorSize])
	packed := core[sectorSize+decompressorSize:]
	size := binary.LittleEndian.Uint32(decompressor[uncompressedSize:])
	if got := binary.LittleEndian.Uint32(decompressor[compressedSize:]); int(got) != len(packed) {
		t.Errorf("the decompressor reads %d bytes, want %d", got, len(packed))
	}
	header := []byte{0x5d, 0, 0, 1, 0} // 64 KiB
	header = binary.LittleEndian.AppendUint64(header, uint64(size))
	r, err := lzma.NewReader(io.MultiReader(bytes.NewReader(header), bytes.NewReader(packed)))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(decompressor[compressedSize:], 0)
	return start, decompressor, plain
}

// TestCoreHasTheContentOfGrubMkimage compares with GRUB's own program on the modules of this host.
func TestCoreHasTheContentOfGrubMkimage(t *testing.T) {
	t.Parallel()
	const dir = "/usr/lib/grub/" + BIOSPlatform
	place := Place{UUID: "0b5a7f1e-1f0c-4c53-9d0a-5d1b8e0f3c12", Dir: "/boot/grub"}
	for _, filesystem := range []string{"ext4", "btrfs", "xfs", "vfat"} {
		c := Core{
			File: func(name string) ([]byte,
				error) {
				return os.ReadFile(diskimagetest.File(t, filepath.Join(dir, name)))
			},
			Modules: CoreModules(BIOSPlatform, filesystem), Config: LoadConfig(place),
			Prefix: Prefix("gpt", 1, place.Dir),
		}
		ours, err := c.Image()
		if err != nil {
			t.Fatal(err)
		}
		work := t.TempDir()
		config, output := filepath.Join(work, "load.cfg"), filepath.Join(work, "core.img")
		if err := os.WriteFile(config, c.Config, 0o600); err != nil {
			t.Fatal(err)
		}
		diskimagetest.Run(t, "grub-mkimage",
			append([]string{"-O", BIOSPlatform, "-d", dir, "-c", config, "-o", output, "-p",
				c.Prefix}, c.Modules...)...)
		theirs, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		decompressor, err := c.File("lzma_decompress.img")
		if err != nil {
			t.Fatal(err)
		}
		start, code, plain := coreParts(t, ours, len(decompressor))
		theirStart, theirCode, theirPlain := coreParts(t, theirs, len(decompressor))
		if !bytes.Equal(plain, theirPlain) {
			t.Errorf("%s: the %d uncompressed bytes differ from the %d of grub-mkimage", filesystem, len(plain),
				len(theirPlain))
		}
		if !bytes.Equal(code, theirCode) || !bytes.Equal(start[:blockList], theirStart[:blockList]) ||
			!bytes.Equal(start[blockList+10:], theirStart[blockList+10:]) {
			t.Errorf("%s: the code differs", filesystem)
		}
		if len(ours) > len(theirs)*11/10 {
			t.Errorf("%s: %d bytes, grub-mkimage has %d", filesystem, len(ours), len(theirs))
		}
		boot, err := c.File("boot.img")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := EmbedBIOS(boot, ours, Embedding{CoreLBA: 1, Sectors: 2047}); err != nil {
			t.Errorf("%s: %v", filesystem, err)
		}
	}
}

func TestImageNamesMissingFiles(t *testing.T) {
	t.Parallel()
	c := Core{File: func(name string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}}
	if _, err := c.Image(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	c.File = func(string) ([]byte, error) { return []byte("no kernel"), nil }
	if _, err := c.Image(); err == nil {
		t.Error("a text was accepted as a kernel")
	}
}
