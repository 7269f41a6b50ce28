// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

func TestGrowStepTellsSystemdRepart(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, nil)
	grow := step.Grow{Program: step.GrowRepart, Type: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"}
	if err := runStep(t, f, grow); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable(step.GrowDefinitionName); !strings.HasSuffix(got,
		"[Partition]\nType=4f68bce3-e8cd-4db1-96e7-fbcaf984b709\n") {
		t.Errorf("got %q", got)
	}
	// A U-Boot in front of the first partition must survive.
	if got := f.Readable(step.GrowNoDiscardName); !strings.Contains(got,
		"ExecStart=\nExecStart=systemd-repart --dry-run=no --discard=no\n") {
		t.Errorf("%s: %q", step.GrowNoDiscardName, got)
	}
}

func TestGrowStepInstallsAService(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, nil)
	if err := runStep(t, f, step.Grow{Program: step.GrowSfdisk}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable(step.GrowUnitWanted); got != "-> ../grow-root-partition.service" {
		t.Errorf("%s: %q", step.GrowUnitWanted, got)
	}
	if got := f.Readable(step.GrowUnitName); !strings.Contains(got, "ExecStart="+step.GrowProgramName+"\n") {
		t.Errorf("%s: %q", step.GrowUnitName, got)
	}
	checkShell(t, f, step.GrowProgramName)
}

func TestOverlayStepPutsProgramsIntoTheInitramfs(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, nil)
	if err := runStep(t, f, step.Overlay{Roottype: "erofs", Grub: true}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable(step.OverlayHook); !strings.Contains(got, "\nmanual_add_modules erofs overlay\n") {
		t.Errorf("%s: %q", step.OverlayHook, got)
	}
	checkShell(t, f, step.OverlayHook, step.OverlayScript)
	if got := f.Readable(step.GrubService); !strings.Contains(got, "[Unit]\nConditionPathIsReadWrite=/boot/grub\n") {
		t.Errorf("%s: %q", step.GrubService, got)
	}
}

func TestVerityStepPutsVeritysetupIntoTheInitramfs(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, nil)
	if err := runStep(t, f, step.Verity{Mapping: "root"}); err != nil {
		t.Fatal(err)
	}
	if got := f.Readable(step.VerityHook); !strings.Contains(got, "\ncopy_exec /sbin/veritysetup\n") {
		t.Errorf("%s: %q", step.VerityHook, got)
	}
	checkShell(t, f, step.VerityHook, step.VerityScript)
}

// checkShell has shellcheck look at programs of the target, but for what they take from elsewhere.
func checkShell(t *testing.T, f *targettest.Target, names ...string) {
	t.Helper()
	for _, name := range names {
		info, err := f.Lstat(name)
		if err != nil || info.Mode() != fs.FileMode(0o755) {
			t.Errorf("%s: %v (%v), want a program", name, info.Mode(), err)
		}
		diskimagetest.Run(t, "shellcheck", "--exclude=SC1091,SC2154", f.Path(name))
	}
}

// The root partition can only grow if nothing is behind it.
func TestGrowingRootIsLastOnTheDisk(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"msdos", "gpt"} {
		d := testPlan(t, func(o *Options) {
			o.Grow, o.Swap, o.Bootsize, o.PartType = true, 256*diskimage.MiB, 200*diskimage.MiB, table
		}).Disk
		for _, p := range d.Layout.Partitions {
			if p.Start > d.Root().Start {
				t.Errorf("%s: %s is behind the root partition", table, p)
			}
		}
		if p := d.Layout.Partitions[0]; p.Role != diskimage.RoleBoot || p.Number != 1 || table == "msdos" && !p.Active {
			t.Errorf("%s: got %+v first", table, p)
		}
	}
}

func TestGrowerByReleaseAndTable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		suite, table string
		want         step.Grower
		packages     string
	}{
		{"bullseye", "gpt", step.GrowSfdisk, "fdisk"},
		{"bookworm", "gpt", step.GrowRepart, ""},
		{"trixie", "gpt", step.GrowRepart, "systemd-repart"},
		{"trixie", "msdos", step.GrowSfdisk, "fdisk"},
		{"noble", "gpt", step.GrowSfdisk, "fdisk"},
	} {
		s := testSpec(t, func(o *Options) { o.Grow, o.Distribution, o.PartType = true, tt.suite, tt.table })
		if got, packages := s.grower(), strings.Join(s.growPackages(), " "); got != tt.want || packages != tt.packages {
			t.Errorf("%s on %s: got %s with %q, want %s with %q", tt.suite, tt.table, got, packages, tt.want,
				tt.packages)
		}
	}
	if got := testSpec(t, func(*Options) {}).grower(); got != step.GrowNothing {
		t.Errorf("without --grow: got %s", got)
	}
}
