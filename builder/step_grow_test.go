package builder

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

func TestGrowStepTellsSystemdRepart(t *testing.T) {
	t.Parallel()
	f := newFakeTarget(t, nil)
	if err := runStep(t, f, growStep{Program: growRepart, Type: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"}); err != nil {
		t.Fatal(err)
	}
	if got := f.readable(growDefinitionName); !strings.HasSuffix(got, "[Partition]\nType=4f68bce3-e8cd-4db1-96e7-fbcaf984b709\n") {
		t.Errorf("got %q", got)
	}
	// A U-Boot in front of the first partition must survive.
	if got := f.readable(growUndiscardedName); !strings.Contains(got, "ExecStart=\nExecStart=systemd-repart --dry-run=no --discard=no\n") {
		t.Errorf("%s: %q", growUndiscardedName, got)
	}
}

func TestGrowStepInstallsAService(t *testing.T) {
	t.Parallel()
	f := newFakeTarget(t, nil)
	if err := runStep(t, f, growStep{Program: growSfdisk}); err != nil {
		t.Fatal(err)
	}
	if got := f.readable(growUnitWanted); got != "-> ../grow-root-partition.service" {
		t.Errorf("%s: %q", growUnitWanted, got)
	}
	if got := f.readable(growUnitName); !strings.Contains(got, "ExecStart="+growProgramName+"\n") {
		t.Errorf("%s: %q", growUnitName, got)
	}
	checkShell(t, f, growProgramName)
}

func TestOverlayStepPutsProgramsIntoTheInitramfs(t *testing.T) {
	t.Parallel()
	f := newFakeTarget(t, nil)
	if err := runStep(t, f, overlayStep{Roottype: "erofs", Grub: true}); err != nil {
		t.Fatal(err)
	}
	if got := f.readable(overlayHook); !strings.Contains(got, "\nmanual_add_modules erofs overlay\n") {
		t.Errorf("%s: %q", overlayHook, got)
	}
	checkShell(t, f, overlayHook, overlayScript)
	if got := f.readable(grubService); !strings.Contains(got, "[Unit]\nConditionPathIsReadWrite=/boot/grub\n") {
		t.Errorf("%s: %q", grubService, got)
	}
}

// checkShell has shellcheck look at programs of the target, but for what they take from elsewhere.
func checkShell(t *testing.T, f *fakeTarget, names ...string) {
	t.Helper()
	for _, name := range names {
		info, err := f.Lstat(name)
		if err != nil || info.Mode() != fs.FileMode(0o755) {
			t.Errorf("%s: %v (%v), want a program", name, info.Mode(), err)
		}
		diskimagetest.Run(t, "shellcheck", "--exclude=SC1091,SC2154", f.path(name))
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
			if p.Start > d.root().Start {
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
		want         grower
		packages     string
	}{
		{"bullseye", "gpt", growSfdisk, "fdisk"},
		{"bookworm", "gpt", growRepart, ""},
		{"trixie", "gpt", growRepart, "systemd-repart"},
		{"trixie", "msdos", growSfdisk, "fdisk"},
		{"noble", "gpt", growSfdisk, "fdisk"},
	} {
		s := testSpec(t, func(o *Options) { o.Grow, o.Distribution, o.PartType = true, tt.suite, tt.table })
		if got, packages := s.grower(), strings.Join(s.growPackages(), " "); got != tt.want || packages != tt.packages {
			t.Errorf("%s on %s: got %s with %q, want %s with %q", tt.suite, tt.table, got, packages, tt.want, tt.packages)
		}
	}
	if got := testSpec(t, func(*Options) {}).grower(); got != growNothing {
		t.Errorf("without --grow: got %s", got)
	}
}
