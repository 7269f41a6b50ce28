// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/provenance"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// madeRoot makes a root file system of certain bytes, in the place of mksquashfs.
type madeRoot struct {
	programs
	dir     string
	content []byte
}

func (m madeRoot) programVolume(_ Disk, p diskimage.Partition) *filesystem.Volume {
	run := func(_ context.Context, mounts []specs.Mount, _ string, _ ...string) (string, error) {
		i := slices.IndexFunc(mounts, func(m specs.Mount) bool { return m.Destination == "/run/mkfs/work" })
		return "", os.WriteFile(filepath.Join(mounts[i].Source, "image"), m.content, 0o600)
	}
	tree := func(string) diskimage.Tree { return diskimage.EmptyTree(treeTime) }
	return &filesystem.Volume{Tools: filesystem.Tools{Run: run, Tree: tree, TempDir: m.dir}, Filesystem: p.Filesystem,
		Size: p.Size, Dir: m.dir}
}

// rootContent stands for a squashfs whose length is no multiple of a block.
var rootContent = bytes.Repeat([]byte("hsqs root file system "), 100_001)

// slotsAssembly returns an assembler of an image with two slots, and its disk.
func slotsAssembly(t *testing.T, change func(*Options)) (assembler, Disk) {
	t.Helper()
	a, disk := systemdBootAssembly(t, func(o *Options) {
		o.Roottype, o.AB, o.ImageVersion, o.Hostname = "squashfs", "https://updates.example/%7Ekiosk", "1", "Kiosk"
		o.ABArtifacts, o.ESPSize = filepath.Join(t.TempDir(), "updates"), 128*diskimage.MiB
		change(o)
	})
	a.programs = madeRoot{dir: t.TempDir(), content: rootContent}
	return a, disk
}

// readImage writes an image and returns its bytes.
func (a assembler) readImage(t *testing.T, d Disk) []byte {
	t.Helper()
	if _, err := a.write(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(d.Image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Issue 19, 3: both slots have the types of the Discoverable Partitions Specification, and labels that the transfers of
// systemd-sysupdate match.
func TestSlotsAreEqualAndOneIsEmpty(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"auto":                func(*Options) {},
		"auto, verified":      func(o *Options) { o.Verity = true },
		"fixed size":          func(o *Options) { o.SizeAuto, o.Size = false, 200*diskimage.MiB },
		"fixed size, odd":     func(o *Options) { o.SizeAuto, o.Size = false, 201*diskimage.MiB },
		"fixed size verified": func(o *Options) { o.SizeAuto, o.Size, o.Verity, o.Swap = false, 512*diskimage.MiB, true, 1 },
	} {
		a, disk := slotsAssembly(t, change)
		image := a.readImage(t, disk)
		verified := disk.verifies()
		b, labels := 2, []string{"kiosk_1", "_empty"}
		if verified {
			b, labels = 3, []string{"kiosk_1", "kiosk_1_verity", "_empty", "_empty"}
		}
		first, second := partitionOf(t, image, 1), partitionOf(t, image, b)
		if first.Size-second.Size > diskimage.MiB || first.Size < diskimage.Size(len(rootContent)) {
			t.Errorf("%s: the slots have %s and %s", name, first.Size, second.Size)
		}
		if disk.Auto && (first.Size != second.Size || first.Size < diskimage.Size(len(rootContent))*5/4) {
			t.Errorf("%s: the slots have %s and %s, no room for larger versions", name, first.Size, second.Size)
		}
		const root, tree = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"
		table := diskimagetest.Run(t, "sfdisk", "--dump", disk.Image)
		for i, label := range labels {
			kind := root
			if verified && i%2 == 1 {
				kind = tree
			}
			want := `img` + string(rune('1'+i)) + ` : .*type=` + kind + `, .*name="` + label + `", attrs="GUID:60"`
			if !regexp.MustCompile(want).MatchString(table) {
				t.Errorf("%s: no %q in\n%s", name, want, table)
			}
		}
	}
}

// Artifacts are what is in the first slot, under names from which a transfer takes the version and the partition's ID.
func TestArtifactsAreTheContentOfASlot(t *testing.T) {
	t.Parallel()
	for _, verified := range []bool{false, true} {
		key, certificate := secureBootPair(t)
		a, disk := slotsAssembly(t, func(o *Options) {
			o.Verity, o.SecureBootKey, o.SecureBootCert = verified, secret.New(key), certificate
		})
		image := a.readImage(t, disk)
		dir := disk.Artifacts
		digests, err := readDigests(filepath.Join(dir, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		diskimagetest.Run(t, "sh", "-c", `cd "$1" && sha256sum --check --strict --quiet SHA256SUMS`, "sh", dir)
		first := partitionOf(t, image, 1)
		root, want := "kiosk_1.root", []string{"kiosk_1.efi", "kiosk_1.root"}
		if verified {
			tree := "kiosk_1_" + partitionOf(t, image, 2).UUID + ".verity"
			root = "kiosk_1_" + first.UUID + ".root"
			want = []string{"kiosk_1.efi", root, tree}
			slices.Sort(want)
			arguments := kernelCommandLine(t, efiFile(t, image, "EFI/Linux/kiosk_1.efi"))
			before, hash, _ := strings.Cut(arguments, " roothash=")
			if before != "root=/dev/mapper/root ro panic=10" {
				t.Errorf("the command line is %q", arguments)
			}
			diskimagetest.Run(t, "veritysetup", "verify", filepath.Join(dir, root), filepath.Join(dir, tree), hash)
			diskimagetest.Run(t, "veritysetup", "verify", partitionFile(t, image, 1), partitionFile(t, image, 2), hash)
		} else if got := kernelCommandLine(t, efiFile(t, image, "EFI/Linux/kiosk_1.efi")); got !=
			"root=PARTLABEL=kiosk_1 ro panic=10" {
			t.Errorf("the command line is %q", got)
		}
		var names []string
		for name := range digests {
			names = append(names, name)
		}
		if slices.Sort(names); !slices.Equal(names, want) {
			t.Errorf("the artifacts are %q, want %q", names, want)
		}
		data, err := os.ReadFile(filepath.Join(dir, root))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(data, rootContent) || len(data)%4096 != 0 || !bytes.HasPrefix(image[first.Start:], data) {
			t.Errorf("%s of %d bytes is not what is in the first slot", root, len(data))
		}
		kernel, err := os.ReadFile(filepath.Join(dir, "kiosk_1.efi"))
		if err != nil || !bytes.Equal(kernel, efiFile(t, image, "EFI/Linux/kiosk_1.efi")) {
			t.Errorf("kiosk_1.efi is not that of the image: %v", err)
		}
	}
}

// A directory has the artifacts of all versions, and no version twice.
func TestArtifactsOfVersionsAreListedTogether(t *testing.T) {
	t.Parallel()
	a, disk := slotsAssembly(t, func(*Options) {})
	a.readImage(t, disk)
	b, second := slotsAssembly(t, func(o *Options) { o.ImageVersion, o.ABArtifacts = "2", disk.Artifacts })
	b.readImage(t, second)
	list := filepath.Join(disk.Artifacts, "SHA256SUMS")
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^\w{64}  kiosk_1.efi\n\w{64}  kiosk_1.root\n\w{64}  kiosk_2.efi\n\w{64}  kiosk_2.root\n$`)
	if !want.Match(text) {
		t.Errorf("the list is\n%s", text)
	}
	w := testWorld()
	w.Stat = os.Stat
	_, err = NewSpec(options(slots(func(o *Options) { o.Hostname, o.ABArtifacts = "kiosk", disk.Artifacts })), w)
	if err == nil || !strings.Contains(err.Error(), "kiosk_1.efi is there already: give --image-version a higher") {
		t.Errorf("the same version again: %v", err)
	}
	if err := os.WriteFile(list, []byte("no digest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.write(t.Context(), disk); err == nil || !strings.Contains(err.Error(), "not of sha256sum") {
		t.Errorf("a list of something else: %v", err)
	}
}

// Issue 19, 3: the statement of --provenance names the files of an update by their names in its own directory.
func TestProvenanceHasTheFilesOfAnUpdate(t *testing.T) {
	t.Parallel()
	a, disk := slotsAssembly(t, func(o *Options) { o.Verity = true })
	dir := filepath.Dir(disk.Artifacts)
	statement := filepath.Join(dir, "kiosk.json")
	written, err := a.write(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	r := &Result{spec: Spec{o: Options{Image: disk.Image, Provenance: statement}}, unnamed: written.Update}
	files, err := r.subjects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listed, err := readDigests(filepath.Join(disk.Artifacts, digestsName))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files[1:] {
		got = append(got, f.Name)
		if name := filepath.Base(f.Name); f.SHA256 != listed[name] || f.Name != "updates/"+name {
			t.Errorf("the statement says %q of %s, the list %q", f.SHA256, f.Name, listed[name])
		}
	}
	if len(listed) != 3 || len(got) != 3 || files[0].Name != filepath.Base(disk.Image) {
		t.Errorf("the statement is about %q, the update is %q", files, listed)
	}
	var text bytes.Buffer
	if err := provenance.Write(t.Context(), &text, lockfile.File{}, nil, files[1:], nil); err != nil {
		t.Fatal(err)
	}
	data := text.Bytes()
	verify := func() ([]string, error) {
		names, _, err := VerifyProvenance(t.Context(), bytes.NewReader(data), nil, dir)
		return names, err
	}
	if names, err := verify(); err != nil || !slices.Equal(names, got) {
		t.Errorf("verified %q (%v), want %q", names, err, got)
	}
	if err := os.Truncate(filepath.Join(dir, got[0]), 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(); err == nil || !strings.Contains(err.Error(), got[0]+" is another file") {
		t.Errorf("a damaged root file system: %v", err)
	}
}

// A root file system has to fit into the smaller slot of a disk of a given size.
func TestSlotsOfAGivenSizeHoldTheirContent(t *testing.T) {
	t.Parallel()
	a, disk := slotsAssembly(t, func(o *Options) { o.SizeAuto, o.Size = false, 132*diskimage.MiB })
	_, err := a.write(t.Context(), disk)
	if err == nil || !strings.Contains(err.Error(), "--size: 132MiB is too small for the content; 136MiB is enough") {
		t.Errorf("got %v", err)
	}
}

// Each transfer matches the names of the artifacts and the labels of the partitions; the kernel comes last.
func TestTransfersAreThoseOfSysupdate(t *testing.T) {
	t.Parallel()
	_, disk := slotsAssembly(t, func(o *Options) { o.Verity = true })
	u := disk.sysupdateStep(Options{AB: "https://updates.example/%7Ekiosk"}, Lock{})
	f := targettest.New(t, map[string]string{"/usr/lib/os-release": "ID=debian\nIMAGE_VERSION=0\n",
		"/etc/systemd/system/": ""})
	if err := runStep(t, f, u); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/usr/lib/os-release": "ID=debian\nIMAGE_ID=\"kiosk\"\nIMAGE_VERSION=\"1\"\n",
		"/usr/lib/sysupdate.d/50-root.transfer": `# Written by vmdebootstrap, see sysupdate.d(5).
[Transfer]
ProtectVersion=%A
Verify=no

[Source]
Type=url-file
Path=https://updates.example/%%7Ekiosk
MatchPattern=kiosk_@v_@u.root

[Target]
Type=partition
Path=auto
MatchPattern=kiosk_@v
MatchPartitionType=4f68bce3-e8cd-4db1-96e7-fbcaf984b709
ReadOnly=1
InstancesMax=2
`,
		"/usr/lib/sysupdate.d/60-verity.transfer": `# Written by vmdebootstrap, see sysupdate.d(5).
[Transfer]
ProtectVersion=%A
Verify=no

[Source]
Type=url-file
Path=https://updates.example/%%7Ekiosk
MatchPattern=kiosk_@v_@u.verity

[Target]
Type=partition
Path=auto
MatchPattern=kiosk_@v_verity
MatchPartitionType=2c7357ed-ebd2-46d9-aec1-23d437ec2bf5
ReadOnly=1
InstancesMax=2
`,
		"/usr/lib/sysupdate.d/70-kernel.transfer": `# Written by vmdebootstrap, see sysupdate.d(5).
[Transfer]
ProtectVersion=%A
Verify=no

[Source]
Type=url-file
Path=https://updates.example/%%7Ekiosk
MatchPattern=kiosk_@v.efi

[Target]
Type=regular-file
Path=/EFI/Linux
PathRelativeTo=boot
MatchPattern=kiosk_@v+@l-@d.efi kiosk_@v+@l.efi kiosk_@v.efi
Mode=0644
TriesLeft=3
TriesDone=0
InstancesMax=2
`,
	} {
		if got := f.Readable(name); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
	local := step.Sysupdate{Name: "kiosk", Version: "1", Source: "/srv/updates", Root: "x"}.Transfers()
	if got := local["50-root.transfer"]; len(local) != 2 || strings.Contains(got, "Verify") ||
		!strings.Contains(got, "Type=regular-file\nPath=/srv/updates\nMatchPattern=kiosk_@v.root\n") {
		t.Errorf("of a directory: %q", local)
	}
}

// With a key, signatures are verified, by a key ring in the form that gpg reads: it has no armour.
func TestKeyOfUpdatesIsAKeyRing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "updates.asc")
	if err := os.WriteFile(name, []byte(plannedKey), 0o600); err != nil {
		t.Fatal(err)
	}
	u := step.Sysupdate{Name: "kiosk", Version: "1", Source: "https://updates.example", Key: name, Digest: "0"}
	f := targettest.New(t, map[string]string{"/usr/lib/os-release": "", "/etc/systemd/system/": ""})
	if err := runStep(t, f, u); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable("/usr/lib/sysupdate.d/70-kernel.transfer"); strings.Contains(got, "Verify") {
		t.Errorf("the transfer is\n%s", got)
	}
	ring := f.Readable("/etc/systemd/import-pubring.gpg")
	keys, err := archive.ReadKeyring(strings.NewReader(ring))
	if err != nil || len(keys) != 1 || strings.HasPrefix(ring, "-") {
		t.Errorf("the key ring %q has %d keys: %v", ring, len(keys), err)
	}
}

// TestUpdatesMountWhatTheMachineHas: version 2 waited for the EFI system partition of its own image, and ended in the
// emergency mode.
func TestUpdatesMountWhatTheMachineHas(t *testing.T) {
	t.Parallel()
	spec := testSpec(t, func(o *Options) {
		o.Distribution, o.Boot, o.PartType, o.Roottype, o.Swap = "trixie", "systemd-boot", "gpt", "squashfs", 64*diskimage.MiB
		o.AB, o.ImageVersion, o.Hostname = "https://updates.example/kiosk", "1", "kiosk"
	})
	var tables [2][]step.FstabEntry
	for i := range tables {
		disk, err := newDisk(spec, Lock{Seed: uuid.NewSHA1(uuid.NameSpaceOID, []byte{byte(i)}), Time: treeTime})
		if err != nil {
			t.Fatal(err)
		}
		tables[i] = fstabEntries(&disk)
	}
	if len(tables[0]) != 3 || !slices.Equal(tables[0], tables[1]) {
		t.Errorf("two versions have\n%v\n%v", tables[0], tables[1])
	}
}
