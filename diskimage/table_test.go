// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var testDiskID = uuid.MustParse("deb1a400-1c2f-4f43-9b6e-2b2f0d6a0001")

// goldenLayouts are the requests whose tables are compared with the files in testdata.
var goldenLayouts = map[string]Request{
	"msdos-default": {Size: GB, Table: MSDOS, Partitions: []PartitionRequest{
		{Role: RoleRoot, Filesystem: Filesystem{Type: "ext4"}, Flags: []string{"boot"}},
	}},
	"msdos-boot-swap": {Size: 3 * GiB, Table: MSDOS, Offset: 20 * MiB, Partitions: []PartitionRequest{
		{Role: RoleBoot, Size: 100 * MiB, Filesystem: Filesystem{Type: "vfat"}, Flags: []string{"boot", "lba"}},
		{Role: RoleSwap, Size: 256 * MiB, Filesystem: Filesystem{Type: "swap"}},
		{Role: RoleRoot, Filesystem: Filesystem{Type: "ext4"}},
	}},
	"msdos-uefi-12g": {Size: 12 * GiB, Table: MSDOS, Partitions: []PartitionRequest{
		{Role: RoleESP, Size: 5 * MiB, Filesystem: Filesystem{Type: "vfat"}, Flags: []string{"boot", "esp"}},
		{Role: RoleRoot, Filesystem: Filesystem{Type: "ext4"}},
	}},
	"gpt-debian-cloud": {Size: 2 * GiB, Table: GPT, Arch: "amd64", KeepOrder: true, Partitions: []PartitionRequest{
		{Role: RoleBIOSBoot, Number: 14, Size: MiB},
		{Role: RoleESP, Number: 15, Size: 124 * MiB, Filesystem: Filesystem{Type: "vfat"}, Flags: []string{"boot"}},
		{Role: RoleBoot, Number: 13, Size: 256 * MiB, Filesystem: Filesystem{Type: "ext4"}},
		{Role: RoleSwap, Number: 2, Size: 128 * MiB},
		{Role: RoleRoot, Number: 1, Filesystem: Filesystem{Type: "ext4"}, Label: "root ★ 😀"},
	}},
	"gpt-extlinux-arm64": {Size: 300 * MB, Table: GPT, Arch: "arm64", Partitions: []PartitionRequest{
		{Role: RoleRoot, Filesystem: Filesystem{Type: "ext2"}, Flags: []string{"boot"}, Label: strings.Repeat("x", 36)},
	}},
	"gpt-hybrid": {Size: 4 * GiB, Table: GPT, Arch: "amd64", Offset: 16 * MiB, Partitions: []PartitionRequest{
		{Role: RoleBIOSBoot, Number: 14, Size: MiB},
		{Role: RoleSwap, Number: 3, Size: GiB},
		{Role: RoleESP, Number: 15, Size: 64 * MiB, Filesystem: Filesystem{Type: "vfat"}},
		{Role: RoleBoot, Number: 1, Size: 300*MB + 1, Filesystem: Filesystem{Type: "ext4"},
			Flags: []string{"legacy_boot", "no_automount"}},
		{Role: RoleRoot, Number: 2, Filesystem: Filesystem{Type: "btrfs"}},
	}},
	"msdos-board": {Size: 2 * GB, Table: MSDOS, Offset: 16 * MiB, Partitions: []PartitionRequest{
		{Role: RoleBoot, Size: 64 * MiB, Filesystem: Filesystem{Type: "vfat"}, Flags: []string{"boot", "hidden"}},
		{Role: RoleRoot, Filesystem: Filesystem{Type: "f2fs"}, Flags: []string{"raid"}},
		{Role: RoleSwap, Size: 256 * MiB},
	}},
	"gpt-3t": {Size: 3 * TiB, Table: GPT, Arch: "riscv64", Partitions: []PartitionRequest{
		{Role: RoleRoot, Filesystem: Filesystem{Type: "xfs"}},
		{Role: RoleSwap, Size: GiB},
	}},
}

// writeTestTable writes the table of a golden layout into a new sparse file.
func writeTestTable(t *testing.T, r Request) (image string, l Layout) {
	t.Helper()
	r.ID = testDiskID
	l, err := NewLayout(r)
	if err != nil {
		t.Fatal(err)
	}
	image = filepath.Join(t.TempDir(), "disk.img")
	file, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := (Image{Layout: l}).Write(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	return image, l
}

func TestTableIsWhatSfdiskReads(t *testing.T) {
	t.Parallel()
	for name, r := range goldenLayouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, _ := writeTestTable(t, r)
			dump := diskimagetest.Run(t, "sfdisk", "--dump", image)
			got := strings.ReplaceAll(dump, image, "disk.img")
			golden := filepath.Join("testdata", name+".sfdisk")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("sfdisk --dump: got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestTablePassesSfdiskAndSgdisk(t *testing.T) {
	t.Parallel()
	for name, r := range goldenLayouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, _ := writeTestTable(t, r)
			checkTable(t, image, r)
		})
	}
}

func TestRandomTablesPassSfdiskAndSgdisk(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for tables := 0; tables < 40; {
		r := randomRequest(random.Uint64)
		if _, err := NewLayout(r); err != nil || len(r.Partitions) == 0 || r.SectorSize == SectorSize4K {
			continue
		}
		image, _ := writeTestTable(t, r)
		checkTable(t, image, r)
		if tables++; t.Failed() {
			t.Fatalf("request: %+v", r)
		}
	}
}

// checkTable verifies the table of a disk with sfdisk and sgdisk.
func checkTable(t *testing.T, image string, r Request) {
	t.Helper()
	if out := diskimagetest.Run(t, "sfdisk", "--verify", image); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify:\n%s", out)
	}
	if r.Table != GPT {
		return
	}
	out := diskimagetest.Run(t, "sgdisk", "-v", image)
	if !strings.Contains(out, "No problems found") || strings.Contains(out, "Caution") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
}

// large are layouts for disks with sectors of 4096 bytes. The sfdisk of Debian 12 has no option for
// the sector size; fdisk and partx have.
var large = map[string]Request{
	"gpt-4k": {Size: 3*GB + 1, Table: GPT, SectorSize: SectorSize4K, Arch: "arm64", Offset: 8 * MiB,
		Partitions: []PartitionRequest{
			{Role: RoleESP, Number: 15, Size: 300 * MiB, Filesystem: Filesystem{Type: "vfat"}},
			{Role: RoleRoot, Number: 1, Filesystem: Filesystem{Type: "ext4"}, Label: "root"},
			{Role: RoleSwap, Number: 2, Size: 256 * MiB},
		}},
	"msdos-4k": {Size: TiB, Table: MSDOS, SectorSize: SectorSize4K, Partitions: []PartitionRequest{
		{Role: RoleBoot, Size: 100 * MiB, Filesystem: Filesystem{Type: "vfat"}, Flags: []string{"boot"}},
		{Role: RoleRoot, Filesystem: Filesystem{Type: "ext4"}},
	}},
}

func TestTableOfLargeSectorsIsWhatPartxReads(t *testing.T) {
	t.Parallel()
	for name, r := range large {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, _ := writeTestTable(t, r)
			got := diskimagetest.Run(t, "partx", "--sector-size", "4096", "--raw", "--output",
				"NR,START,SECTORS,TYPE,UUID,NAME,FLAGS", image)
			golden := filepath.Join("testdata", name+".partx")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("partx: got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestTableOfLargeSectorsPassesFdisk(t *testing.T) {
	t.Parallel()
	for name, r := range large {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, _ := writeTestTable(t, r)
			out := diskimagetest.Run(t, "sh", "-c", `printf 'v\nq\n' | "$1" --sector-size 4096 "$2" 2>&1`, "sh",
				diskimagetest.Tool(t, "fdisk"), image)
			for _, bad := range []string{"corrupt", "mismatch", "does not contain", "inconsistent", "overlap",
				"error:"} {
				if strings.Contains(strings.ToLower(out), bad) {
					t.Errorf("fdisk: %q in\n%s", bad, out)
				}
			}
			if r.Table == GPT && !strings.Contains(out, "No errors detected") {
				t.Errorf("fdisk:\n%s", out)
			}
		})
	}
}

func TestTableCarriesTheIDsOfTheLayout(t *testing.T) {
	t.Parallel()
	for name, r := range goldenLayouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, l := writeTestTable(t, r)
			got := strings.TrimSpace(diskimagetest.Run(t, "blkid", "-p", "-s", "PTUUID", "-o", "value", image))
			want := l.ID.String()
			if l.Table == MSDOS {
				want = want[:8]
			}
			if got != want {
				t.Errorf("blkid: PTUUID is %s, want %s", got, want)
			}
			for _, p := range l.Partitions {
				if !strings.HasPrefix(p.PartUUID, want) && l.Table == MSDOS {
					t.Errorf("%s: PARTUUID %s does not begin with %s", p, p.PartUUID, want)
				}
			}
		})
	}
}

func TestProtectiveMBRCoversTheDisk(t *testing.T) {
	t.Parallel()
	for size, want := range map[Size]string{
		MiB:     "\x00\x00\x02\x00\xee\xff\xff\xff\x01\x00\x00\x00\xff\x07\x00\x00",
		3 * TiB: "\x00\x00\x02\x00\xee\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff",
	} {
		if got := string(protectiveEntry(Layout{Size: size, SectorSize: SectorSize})); got != want {
			t.Errorf("disk of %s: got % x, want % x", size, got, want)
		}
	}
}

func TestCHSAddressesAreThoseOfFdisk(t *testing.T) {
	t.Parallel()
	for lba, want := range map[uint64][3]byte{
		0: {0, 1, 0}, 62: {0, 63, 0}, 63: {1, 1, 0}, 2048: {32, 33, 0}, 206847: {223, 19, 12},
		5_000_000:  {60, 1<<6 | 6, 55},
		chsMax - 1: {254, 0xff, 0xff}, chsMax: {254, 0xff, 0xff}, 1 << 32: {254, 0xff, 0xff},
	} {
		if got := chs(lba); got != want {
			t.Errorf("sector %d: got %v, want %v", lba, got, want)
		}
	}
}

func TestTableKeepsBootCode(t *testing.T) {
	t.Parallel()
	for _, kind := range []TableKind{MSDOS, GPT} {
		l, err := NewLayout(Request{Size: 10 * MiB, Table: kind, ID: testDiskID,
			Partitions: []PartitionRequest{{Role: RoleRoot}}})
		if err != nil {
			t.Fatal(err)
		}
		w := make(memoryFile, l.Size)
		code := strings.Repeat("\x90", mbrSignatureAt)
		copy(w, code)
		if err := WriteTable(w, l); err != nil {
			t.Fatal(err)
		}
		if string(w[:mbrSignatureAt]) != code {
			t.Errorf("%s: the boot code was overwritten", kind)
		}
	}
}

// sfdisk writes a table from its own dump of our table; the sectors of both must be equal.
func TestTableIsWhatSfdiskWrites(t *testing.T) {
	t.Parallel()
	for name, r := range goldenLayouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.Partitions = slices.Clone(r.Partitions)
			for i := range r.Partitions {
				// sfdisk does not parse the escapes that it writes.
				r.Partitions[i].Label = strings.Trim(r.Partitions[i].Label, " ★😀")
			}
			ours, l := writeTestTable(t, r)
			theirs := filepath.Join(t.TempDir(), "sfdisk.img")
			if err := os.WriteFile(theirs, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(theirs, int64(l.Size)); err != nil {
				t.Fatal(err)
			}
			dump := diskimagetest.Run(t, "sfdisk", "--dump", ours)
			script := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(script, []byte(dump), 0o600); err != nil {
				t.Fatal(err)
			}
			diskimagetest.Run(t, "sh", "-c",
				diskimagetest.Tool(t, "sfdisk")+` --no-reread --no-tell-kernel "$1" <"$2"`, "sh",
				theirs, script)
			for offset, length := range map[Size]Size{0: 34 * SectorSize, l.Size - 33*SectorSize: 33 * SectorSize} {
				if got, want := readRange(t, ours, offset, length),
					readRange(t, theirs, offset, length); !bytes.Equal(got, want) {
					t.Errorf("the %s at %d differ:\n%s", length, offset, firstDifference(got, want))
				}
			}
		})
	}
}

func readRange(t *testing.T, name string, offset, length Size) []byte {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b := make([]byte, length)
	if _, err := file.ReadAt(b, int64(offset)); err != nil {
		t.Fatal(err)
	}
	return b
}

func firstDifference(got, want []byte) string {
	for i := range got {
		if got[i] != want[i] {
			end := min(i+16, len(got))
			return fmt.Sprintf("at byte %d: got % x, want % x", i, got[i:end], want[i:end])
		}
	}
	return ""
}
