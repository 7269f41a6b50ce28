// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// sfdiskUUID matches the fields of a dump that differ between two disks.
var sfdiskUUID = regexp.MustCompile(`(uuid|name)=[^,\n]*,? ?`)

// dumpPartition returns the line of the only partition in sfdisk's dump.
func dumpPartition(t *testing.T, image string) string {
	t.Helper()
	for line := range strings.Lines(diskimagetest.Run(t, "sfdisk", "--dump", image)) {
		if _, rest, ok := strings.Cut(line, " : start="); ok {
			return strings.TrimRight(sfdiskUUID.ReplaceAllString(rest, ""), ", \n")
		}
	}
	t.Fatalf("no partition on %s", image)
	return ""
}

// newerThanParted are flags that older versions of parted do not know.
var newerThanParted = []string{"no_automount", "linux-home", "bls_boot"}

func TestFlagsAreThoseOfParted(t *testing.T) {
	t.Parallel()
	parted := diskimagetest.Tool(t, "parted")
	for _, flag := range Flags() {
		for kind, root := range map[TableKind]string{MSDOS: "primary", GPT: "root"} {
			t.Run(string(kind)+" "+flag, func(t *testing.T) {
				t.Parallel()
				theirs := diskimagetest.SparseFile(t, int64(20*MiB))
				diskimagetest.Run(t, "parted", "--script", theirs, "mklabel", string(kind), "mkpart", root, "ext4",
					"1MiB", "19MiB")
				out, partedErr := exec.CommandContext(t.Context(), parted, "--script", theirs, "set", "1", flag,
					"on").CombinedOutput()
				r := Request{Size: 20 * MiB, Table: kind, ID: testDiskID, Partitions: []PartitionRequest{
					{Role: RoleRoot, Filesystem: Filesystem{Type: "ext4"}, Flags: []string{flag}}, // no architecture
				}}
				if kind == MSDOS {
					r.Size -= MiB // parted leaves the last MiB free on both
				}
				if _, err := NewLayout(r); (err != nil) != (partedErr != nil) {
					for _, newer := range newerThanParted {
						if flag == newer && err == nil {
							t.Skipf("this parted does not know %s", flag)
						}
					}
					t.Fatalf("got %v, parted %v: %s", err, partedErr, out)
				} else if err != nil {
					return
				}
				ours, _ := writeTestTable(t, r)
				got, want := dumpPartition(t, ours), dumpPartition(t, theirs)
				if kind == GPT && flag == "boot" { // see flagEffects
					want = strings.Replace(want, "type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
						`type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, attrs="LegacyBIOSBootable"`, 1)
				}
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
}
