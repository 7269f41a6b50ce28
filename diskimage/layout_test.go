// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// layout calls NewLayout for a request that must succeed.
func layout(t *testing.T, r Request) Layout {
	t.Helper()
	if r.ID == uuid.Nil {
		r.ID = testDiskID
	}
	l, err := NewLayout(r)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLayoutKeepsRoomForBackupGPT(t *testing.T) {
	t.Parallel()
	for size, end := range map[Size]Size{
		10 * MiB: 9 * MiB, 10*MiB + 33*512: 10 * MiB, 10*MiB + 32*512: 9 * MiB, 10*MiB + 32*512 + 1: 10 * MiB,
		GB: 953 * MiB,
	} {
		l := layout(t, Request{Size: size, Table: GPT, Partitions: []PartitionRequest{{Role: RoleRoot}}})
		if got := l.Partitions[0].End(); got != end {
			t.Errorf("disk of %s: the last partition ends at %s, want %s", size, got, end)
		}
	}
}

func TestLayoutSizesAreExact(t *testing.T) {
	t.Parallel()
	l := layout(t, Request{Size: GB, Table: MSDOS, Offset: 20*MiB - 5, Partitions: []PartitionRequest{
		{Role: RoleSwap, Size: 256 * MiB}, {Role: RoleBoot, Size: 100*MiB + 1}, {Role: RoleRoot},
	}})
	want := [][2]Size{{697 * MiB, 256 * MiB}, {20 * MiB, 101 * MiB}, {121 * MiB, 576 * MiB}}
	for i, p := range l.Partitions {
		if p.Start != want[i][0] || p.Size != want[i][1] || p.Number != i+1 {
			t.Errorf("%s: %s at %s, want %s at %s", p, p.Size, p.Start, want[i][1], want[i][0])
		}
		if p.Filesystem.StartLBA != p.StartLBA() {
			t.Errorf("%s: the file system has start sector %d, want %d", p, p.Filesystem.StartLBA, p.StartLBA())
		}
	}
	if l.FirstStart() != 20*MiB {
		t.Errorf("first partition at %s, want 20MiB", l.FirstStart())
	}
	if root, ok := l.Partition(RoleRoot); !ok || root.Number != 3 {
		t.Errorf("root: got %v, %v", root, ok)
	}
}

func TestLayoutRoundsTheDiskUpToSectors(t *testing.T) {
	t.Parallel()
	l := layout(t, Request{Size: 1_500_000_000, Table: MSDOS, Partitions: []PartitionRequest{{Role: RoleRoot}}})
	if l.Size != 1_500_000_256 {
		t.Errorf("got %d, want 1500000256 as qemu-img makes it", l.Size)
	}
}

func TestLayoutTypesFollowRoleAndFlags(t *testing.T) {
	t.Parallel()
	root := PartitionRequest{Role: RoleRoot, Filesystem: Filesystem{Type: "ext4"}}
	with := func(p PartitionRequest) []PartitionRequest { return []PartitionRequest{p, root} }
	for name, c := range map[string]struct {
		table   TableKind
		request PartitionRequest
		code    byte
		active  bool
		guid    uuid.UUID
		attr    uint64
	}{
		"msdos esp": {MSDOS, PartitionRequest{Role: RoleESP, Flags: []string{"boot"}}, 0xef, true, uuid.Nil, 0},
		"msdos vfat": {MSDOS, PartitionRequest{Role: RoleBoot, Filesystem: Filesystem{Type: "vfat"},
			Flags: []string{"lba"}}, 0x0e, false, uuid.Nil, 0},
		"msdos flag esp": {MSDOS, PartitionRequest{Role: RoleBoot, Flags: []string{"esp"}}, 0xef, false, uuid.Nil, 0},
		"msdos swap":     {MSDOS, PartitionRequest{Role: RoleSwap}, 0x82, false, uuid.Nil, 0},
		"gpt esp":        {GPT, PartitionRequest{Role: RoleESP, Flags: []string{"boot", "esp"}}, 0, false, guidESP, 0},
		"gpt boot":       {GPT, PartitionRequest{Role: RoleBoot}, 0, false, guidXBOOTLDR, 0},
		"gpt boot flagged": {GPT, PartitionRequest{Role: RoleBoot, Flags: []string{"boot"}}, 0, false, guidXBOOTLDR,
			attrLegacyBoot},
		"gpt legacy_boot": {GPT, PartitionRequest{Role: RoleBoot, Flags: []string{"legacy_boot"}}, 0, false,
			guidXBOOTLDR,
			attrLegacyBoot},
		"gpt bios-boot": {GPT, PartitionRequest{Role: RoleBIOSBoot}, 0, false, guidBIOSBoot, 0},
		"gpt bios_grub": {GPT, PartitionRequest{Role: RoleBoot, Flags: []string{"bios_grub"}}, 0, false,
			guidBIOSBoot, 0},
		"gpt swap": {GPT, PartitionRequest{Role: RoleSwap, Flags: []string{"swap"}}, 0, false, guidSwap, 0},
	} {
		c.request.Size = 2 * MiB
		p := layout(t, Request{Size: 100 * MiB, Table: c.table, Partitions: with(c.request)}).Partitions[0]
		if p.Code != c.code || p.Active != c.active || p.Type != c.guid || p.Attributes != c.attr {
			t.Errorf("%s: got type %#x, active %v, %s, attributes %#x", name, p.Code, p.Active, p.Type, p.Attributes)
		}
	}
}

func TestRootTypesAreThoseOfUtilLinux(t *testing.T) {
	t.Parallel()
	known := diskimagetest.Run(t, "sfdisk", "--label", "gpt", "--list-types")
	for arch, name := range map[string]string{
		"amd64": "x86-64", "i386": "x86", "arm64": "ARM-64", "armhf": "ARM", "armel": "ARM", "riscv64": "RISC-V-64",
		"ppc64el": "PPC64LE",
		"s390x":   "S390X", "loong64": "LoongArch-64", "mips64el": "MIPS-64 LE", "mipsel": "MIPS-32 LE",
		"ia64":  "IA-64",
		"ppc64": "PPC64", "powerpc": "PPC", "alpha": "Alpha", "x32": "x86-64",
	} {
		line := strings.ToUpper(rootGUIDs[arch].String()) + "  Linux root (" + name + ")\n"
		if !strings.Contains(known, line) {
			t.Errorf("%s: sfdisk does not know %q", arch, line)
		}
	}
	for name, guid := range map[string]uuid.UUID{
		"EFI System": guidESP, "Linux extended boot": guidXBOOTLDR, "Linux swap": guidSwap, "BIOS boot": guidBIOSBoot,
		"Linux filesystem": guidLinux,
	} {
		if line := strings.ToUpper(guid.String()) + "  " + name + "\n"; !strings.Contains(known, line) {
			t.Errorf("sfdisk does not know %q", line)
		}
	}
}

func TestLayoutErrorsNamePartitionAndFigures(t *testing.T) {
	t.Parallel()
	root := PartitionRequest{Role: RoleRoot}
	for name, c := range map[string]struct {
		request Request
		want    []string
	}{
		"too small for root": {
			Request{Size: MiB, Table: MSDOS, Partitions: []PartitionRequest{root}},
			[]string{"partition 1 (root)", "at least 1 MiB needed, 0 MiB available"},
		},
		"one sector too small": {
			Request{Size: 2*MiB + 32*512, Table: GPT, Partitions: []PartitionRequest{root}},
			[]string{"partition 1 (root)", "0 MiB available"},
		},
		"fixed one": {
			Request{Size: 100 * MiB, Table: MSDOS,
				Partitions: []PartitionRequest{root, {Role: RoleSwap, Size: 256 * MiB}}},
			[]string{"partition 2 (swap)", "256 MiB needed, 99 MiB available"},
		},
		"rest": {
			Request{Size: 100 * MiB, Table: MSDOS,
				Partitions: []PartitionRequest{root, {Role: RoleSwap, Size: 99 * MiB}}},
			[]string{"partition 1 (root)", "99 MiB in the other partitions"},
		},
		"offset beyond": {
			Request{Size: 100 * MiB, Table: MSDOS, Offset: GiB, Partitions: []PartitionRequest{root}},
			[]string{"partition 1 (root)", "1024 MiB before the first"},
		},
		"five on msdos": {
			Request{Size: GiB, Table: MSDOS, Partitions: []PartitionRequest{root, {Role: RoleESP, Size: 1},
				{Role: RoleBoot, Size: 1}, {Role: RoleSwap, Size: 1}, {Role: RoleSwap, Size: 1}}},
			[]string{"5 partitions: msdos has room for 4"},
		},
		"2 TiB + 1 on msdos": {
			Request{Size: 2*TiB + 1, Table: MSDOS, Partitions: []PartitionRequest{root}},
			[]string{"covers only 2TiB"},
		},
		"overflow": {Request{Size: ^Size(0), Table: GPT, Partitions: []PartitionRequest{root}},
			[]string{"largest possible"}},
		"offset wraps": {Request{Size: GiB, Table: GPT, Offset: ^Size(0), Partitions: []PartitionRequest{root}},
			[]string{"offset of", "largest possible"}},
		"sizes wrap": {Request{Size: GiB, Table: GPT,
			Partitions: []PartitionRequest{root, {Role: RoleSwap, Size: ^Size(0)}}},
			[]string{"partition 2 (swap)", "largest possible"}},
		"none": {Request{Size: GiB, Table: GPT}, []string{"no partitions"}},
		"no rest": {Request{Size: GiB, Table: GPT, Partitions: []PartitionRequest{{Role: RoleRoot, Size: MiB}}},
			[]string{"0 partitions ask for the rest"}},
		"two rests": {Request{Size: GiB, Table: GPT, Partitions: []PartitionRequest{root, root}},
			[]string{"2 partitions ask for the rest"}},
		"sectors": {Request{Size: GiB, Table: GPT, SectorSize: KiB, Partitions: []PartitionRequest{root}},
			[]string{"sectors of 1KiB", "512 or 4096"}},
		"table": {Request{Size: GiB, Table: "sun", Partitions: []PartitionRequest{root}}, []string{`"sun"`}},
		"role": {Request{Size: GiB, Table: GPT, Partitions: []PartitionRequest{{Role: "home"}}},
			[]string{"partition 1 (home)", `unknown role "home"`}},
		"flag": {Request{Size: GiB, Table: GPT,
			Partitions: []PartitionRequest{{Role: RoleRoot, Flags: []string{"bot"}}}},
			[]string{"partition 1 (root)", `unknown flag "bot"`, "legacy_boot"}},
		"gpt flag": {Request{Size: GiB, Table: MSDOS,
			Partitions: []PartitionRequest{{Role: RoleRoot, Flags: []string{"bios_grub"}}}},
			[]string{"needs a gpt table"}},
		"bios-boot": {Request{Size: GiB, Table: MSDOS,
			Partitions: []PartitionRequest{root, {Role: RoleBIOSBoot, Size: MiB}}},
			[]string{"partition 2 (bios-boot)", "needs a gpt table"}},
		"two active": {Request{Size: GiB, Table: MSDOS,
			Partitions: []PartitionRequest{{Role: RoleRoot, Flags: []string{"boot"}},
				{Role: RoleSwap, Size: 1, Flags: []string{"boot"}}}}, []string{"2 partitions have the boot flag"}},
		"number taken": {Request{Size: GiB, Table: GPT,
			Partitions: []PartitionRequest{root, {Role: RoleSwap, Size: 1, Number: 1}}},
			[]string{"partition 1 (swap)", "taken"}},
		"number 129": {Request{Size: GiB, Table: GPT, Partitions: []PartitionRequest{{Role: RoleRoot, Number: 129}}},
			[]string{"from 1 to 128"}},
		"long label": {Request{Size: GiB, Table: GPT,
			Partitions: []PartitionRequest{{Role: RoleRoot, Label: strings.Repeat("x", 37)}}},
			[]string{"37 UTF-16 units"}},
		"emoji label": {Request{Size: GiB, Table: GPT,
			Partitions: []PartitionRequest{{Role: RoleRoot, Label: strings.Repeat("😀", 19)}}},
			[]string{"38 UTF-16 units"}},
		"bad label": {Request{Size: GiB, Table: GPT, Partitions: []PartitionRequest{{Role: RoleRoot, Label: "\xff"}}},
			[]string{"not UTF-8"}},
		"all mistakes": {Request{Size: GiB, Table: "sun",
			Partitions: []PartitionRequest{{Role: "home", Label: "\xff"}}},
			[]string{`"sun"`, "not UTF-8", `"home"`}},
	} {
		if c.request.ID == uuid.Nil {
			c.request.ID = testDiskID
		}
		_, err := NewLayout(c.request)
		if err == nil {
			t.Errorf("%s: got no error", name)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: got %q, want %q in it", name, err, part)
			}
		}
	}
	if _, err := NewLayout(Request{Size: GiB, Table: GPT, Partitions: []PartitionRequest{root}}); err == nil {
		t.Error("no disk ID: got no error")
	}
}

// checkLayout checks what must be true of every layout.
func checkLayout(t *testing.T, r Request, l Layout) {
	t.Helper()
	sector := max(r.SectorSize, SectorSize)
	if l.Size < r.Size || l.Size%sector != 0 || l.Size-r.Size >= sector || l.SectorSize != sector {
		t.Errorf("disk of %d bytes became one of %d in sectors of %d", r.Size, l.Size, l.SectorSize)
	}
	end := l.Size
	if r.Table == GPT {
		end -= sector + 16*KiB
	}
	sorted := slices.SortedFunc(slices.Values(l.Partitions),
		func(a, b Partition) int { return int(a.StartLBA()) - int(b.StartLBA()) })
	next := max(MiB, r.Offset)
	for _, p := range sorted {
		if p.Start < next {
			t.Errorf("%s starts at %d, before %d", p, p.Start, next)
		}
		if p.Start%MiB != 0 || p.Size%MiB != 0 || p.Size == 0 {
			t.Errorf("%s is not on MiB: %d at %d", p, p.Size, p.Start)
		}
		next = p.End()
	}
	if next > end || end-next >= 2*MiB {
		t.Errorf("the partitions end at %d, the usable space at %d", next, end)
	}
	ids := make(map[string]bool)
	for i, p := range l.Partitions {
		request := r.Partitions[i]
		if p.Role != request.Role || p.Label != request.Label ||
			request.Size != 0 && (p.Size < request.Size || p.Size-request.Size >= MiB) {
			t.Errorf("%s of %d bytes, want one of %d", p, p.Size, request.Size)
		}
		if ids[p.PartUUID] || p.PartUUID == "" {
			t.Errorf("%s: PARTUUID %q is not its ID", p, p.PartUUID)
		}
		ids[p.PartUUID] = true
		if Size(p.StartLBA())*sector != p.Start || Size(p.Sectors())*sector != p.Size ||
			p.Filesystem.StartLBA != p.StartLBA() {
			t.Errorf("%s: %d sectors from %d on are not %s at %s", p, p.Sectors(), p.StartLBA(), p.Size, p.Start)
		}
	}
	if r.RestLast {
		for i, p := range l.Partitions {
			rest := slices.IndexFunc(r.Partitions, func(p PartitionRequest) bool { return p.Size == 0 })
			if p.Start > l.Partitions[rest].Start {
				t.Errorf("%s comes after %s, which must be able to grow", l.Partitions[i], l.Partitions[rest])
			}
		}
	}
	again, err := NewLayout(r)
	if err != nil || !reflect.DeepEqual(l, again) {
		t.Errorf("the same request resulted in %+v, %v", again, err)
	}
}

// randomRequest makes a request from random numbers; many of them are valid.
func randomRequest(next func() uint64) Request {
	r := Request{
		Size: Size(next() % uint64(40*MiB)), Table: []TableKind{MSDOS, GPT}[next()%2],
		Offset: Size(next()%3) * Size(next()%uint64(5*MiB)),
		Arch:   []string{"amd64", "arm64", "vax"}[next()%3], ID: testDiskID, KeepOrder: next()%2 == 0,
		RestLast:   next()%4 == 0,
		SectorSize: []Size{0, SectorSize, SectorSize4K}[next()%3],
	}
	roles := []Role{RoleESP, RoleBoot, RoleSwap, RoleBIOSBoot, RoleRoot}
	n := int(next() % 5)
	open := int(next()) & 3
	for i := range n {
		p := PartitionRequest{Role: roles[next()%5], Size: 1 + Size(next()%uint64(6*MiB)),
			Label: strings.Repeat("é", int(next()%38))}
		if i == open%n {
			p.Size = 0
		}
		if next()%4 == 0 {
			p.Number = int(next() % 130)
		}
		if next()%2 == 0 {
			p.Flags = []string{Flags()[next()%uint64(len(Flags()))]}
		}
		r.Partitions = append(r.Partitions, p)
	}
	return r
}

func TestLayoutPropertiesHoldForRandomRequests(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	good := 0
	for range 5000 {
		r := randomRequest(random.Uint64)
		if l, err := NewLayout(r); err == nil {
			good++
			checkLayout(t, r, l)
		}
	}
	if good < 500 {
		t.Errorf("only %d of 5000 requests were valid: too few to prove anything", good)
	}
}

func FuzzLayout(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef"))
	f.Add([]byte{})
	for i := range byte(20) {
		data := make([]byte, 400)
		_, _ = rand.NewChaCha8([32]byte{i}).Read(data)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		next := func() uint64 {
			var b [8]byte
			n := copy(b[:], data)
			data = data[n:]
			return binary.LittleEndian.Uint64(b[:])
		}
		r := randomRequest(next)
		l, err := NewLayout(r)
		if err != nil {
			return
		}
		checkLayout(t, r, l)
		checkClaims(t, l, randomClaims(l, next))
	})
}

func BenchmarkNewLayout(b *testing.B) {
	r := goldenLayouts["gpt-debian-cloud"]
	r.ID = testDiskID
	for b.Loop() {
		if _, err := NewLayout(r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDiskSizeLeavesTheRequestedRest(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	good := 0
	for range 3000 {
		r := randomRequest(random.Uint64)
		rest := 1 + Size(random.Uint64()%uint64(9*MiB))
		r.Size = r.DiskSize(rest)
		l, err := NewLayout(r)
		if err != nil {
			continue
		}
		good++
		checkLayout(t, r, l)
		rounded, _ := rest.roundUp(MiB)
		for i, p := range l.Partitions {
			if r.Partitions[i].Size == 0 && p.Size != rounded {
				t.Errorf("requested a rest of %d, got %s in a disk of %s", rest, p.Size, l.Size)
			}
		}
	}
	if good < 300 {
		t.Errorf("only %d of 3000 requests were valid: too few to prove anything", good)
	}
}
