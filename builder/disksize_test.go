// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os/exec"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

func TestSpaceIsReadBackAsItIsPrinted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Space{
		"25%": {Percent: 25}, "0%": {}, "0": {}, " 100% ": {Percent: 100}, "1.5Gi": {Bytes: 3 * diskimage.GiB / 2},
		"200M": {Bytes: 200 * diskimage.MB},
	} {
		got, err := ParseSpace(text)
		if err != nil || got != want {
			t.Errorf("%q: got %v (%v), want %v", text, got, err, want)
		}
		if again, err := ParseSpace(got.String()); err != nil || again != got {
			t.Errorf("%q: printed as %q, which is %v (%v)", text, got, again, err)
		}
	}
	for _, text := range []string{"", "%", "-5%", "2.5%", "10001%", "5 apples"} {
		if got, err := ParseSpace(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

// autoTree holds files of together 40 MiB.
func autoTree(t *testing.T) diskimage.Tree {
	t.Helper()
	var entries []diskimage.Entry
	when := time.Unix(1_700_000_000, 0)
	for _, name := range []string{"a", "b", "c", "d"} {
		entries = append(entries, diskimage.FileEntry(name, 0o644, []byte(strings.Repeat(name, 10<<20)), when))
	}
	tree, err := diskimage.Overlay(diskimage.EmptyTree(when), entries...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestAutoSizeIsThatOfTheContentAndTheFreeSpace(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"msdos", "gpt"} {
		sizes := map[string]diskimage.Size{}
		for _, free := range []string{"0%", "25%", "500MiB"} {
			space, err := ParseSpace(free)
			if err != nil {
				t.Fatal(err)
			}
			planned := testPlan(t, func(o *Options) {
				o.SizeAuto, o.Free, o.Swap, o.PartType = true, space, 256*diskimage.MiB, table
			}).Disk
			tree := autoTree(t)
			d, err := planned.fit(tree)
			if err != nil {
				t.Fatal(err)
			}
			sizes[free] = d.Layout.Size
			if d.Layout.Size%diskimage.MiB != 0 {
				t.Errorf("%s, free %s: the disk has %d bytes, not a multiple of 1 MiB", table, free, d.Layout.Size)
			}
			if _, err := filesystem.Lookup("ext4").Formatter.Plan(d.Root().Size, d.Root().Filesystem, tree); err != nil {
				t.Errorf("%s, free %s: the content does not fit: %v", table, free, err)
			}
			swap, _ := d.Layout.Partition(diskimage.RoleSwap)
			if swap.Start != d.Root().End() || swap.Size != 256*diskimage.MiB ||
				d.Layout.Size-swap.End() > diskimage.MiB {
				t.Errorf("%s, free %s: swap is at %s of %s", table, free, swap.Start, d.Layout.Size)
			}
			for i, p := range d.Layout.Partitions {
				if q := planned.Layout.Partitions[i]; p.PartUUID != q.PartUUID ||
					p.Filesystem.UUID != q.Filesystem.UUID || p.Number != q.Number {
					t.Errorf("%s is not what the plan said: %+v, %+v", p, p, q)
				}
			}
		}
		content := sizes["0%"]
		if more := sizes["500MiB"] - content; more < 500*diskimage.MiB || more > 600*diskimage.MiB {
			t.Errorf("%s: 500 MiB of free space make the disk %s larger", table, more)
		}
		if more := sizes["25%"] - content; more < 10*diskimage.MiB || more > 30*diskimage.MiB {
			t.Errorf("%s: a quarter of about 60 MiB of free space makes the disk %s larger", table, more)
		}
	}
}

// hostToolbox runs the programs of this machine; what would be mounted is named by its own path instead.
type hostToolbox struct{ *targettest.Target }

func (h hostToolbox) Run(ctx context.Context, p *specs.Process, mounts []specs.Mount, in io.Reader,
	out io.Writer) error {
	var places []string
	for _, m := range mounts {
		places = append(places, m.Destination, m.Source)
	}
	args := make([]string, len(p.Args))
	for i, arg := range p.Args {
		args[i] = strings.NewReplacer(places...).Replace(arg)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
	return cmd.Run()
}

// madeBy has the programs of this machine make the file systems of a directory.
type madeBy struct {
	programs
	t   *testing.T
	dir string
}

func (m madeBy) programVolume(_ Disk, p diskimage.Partition) *filesystem.Volume {
	s := &step.Context{Toolbox: hostToolbox{targettest.New(m.t, nil)}, Tmp: m.t.TempDir(),
		Log: slog.New(slog.DiscardHandler), Out: step.NewTail(nil)}
	return &filesystem.Volume{Tools: s.Tools(), Filesystem: p.Filesystem, Size: p.Size, Dir: m.dir}
}

func TestAutoSizeOfACompressedRootIsWhatItBecomes(t *testing.T) {
	t.Parallel()
	for fstype, program := range map[string]string{"erofs": "mkfs.erofs", "squashfs": "mksquashfs"} {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			diskimagetest.Tool(t, program)
			plan := testPlan(t, func(
				o *Options) {
				o.SizeAuto, o.Roottype, o.Bootsize = true, fstype, 64*diskimage.MiB
			})
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "zeros"), make([]byte, 64<<20), 0o644); err != nil {
				t.Fatal(err)
			}
			a := assembler{programs: madeBy{t: t, dir: dir}}
			d, root, err := a.sized(t.Context(), *plan.Disk)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			info, err := root.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if got, least := d.Root().Size, diskimage.Size(info.Size()); got < least || got > least+2*diskimage.MiB {
				t.Errorf("the root partition has %s for %s", got, least)
			}
			if d.Layout.Size > 80*diskimage.MiB {
				t.Errorf("the disk has %s: 64 MiB for /boot, and zeros", d.Layout.Size)
			}
		})
	}
}

// f2fs begins its segments where the disk has multiples of their size.
func TestAutoSizeOfF2FSIsEnough(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*Options){
		func(o *Options) { o.PartType = "msdos" }, func(o *Options) { o.PartType = "gpt" },
		func(o *Options) { o.UseUEFI, o.SectorSize = true, diskimage.SectorSize4K },
		func(o *Options) { o.Bootoffset = 12345 * diskimage.SectorSize },
	} {
		planned := testPlan(t, func(o *Options) {
			o.SizeAuto, o.Roottype, o.Grub, o.Free = true, "f2fs", true, Space{Bytes: 30 * diskimage.MiB}
			change(o)
		}).Disk
		d, err := planned.fit(autoTree(t))
		if err != nil {
			t.Fatal(err)
		}
		root := d.Root()
		if _, err := filesystem.Lookup("f2fs").Formatter.Plan(root.Size, root.Filesystem, autoTree(t)); err != nil {
			t.Errorf("%s: %v", root, err)
		}
		if most := 200 * diskimage.MiB; root.Size > most {
			t.Errorf("%s for 40 MiB and 30 MiB of free space, want at most %s", root, most)
		}
	}
}

func TestFixedSizeIsLeftAlone(t *testing.T) {
	t.Parallel()
	planned := testPlan(t, func(*Options) {}).Disk
	d, err := planned.fit(nil)
	if err != nil || d.Layout.Size != planned.Layout.Size {
		t.Errorf("got %s (%v), want %s", d.Layout.Size, err, planned.Layout.Size)
	}
}

func TestPlanOfAnAutoDiskNamesNoSize(t *testing.T) {
	t.Parallel()
	plan := testPlan(t, func(o *Options) { o.SizeAuto, o.Swap = true, diskimage.GiB })
	var text strings.Builder
	if err := plan.Print(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"raw, auto + 25%, msdos", "auto at 1MiB\n", "1GiB at auto\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", &text, want)
		}
	}
}

// Issue 15, 17: the error had blocks of 4096 bytes, and no size to give instead.
func TestTooSmallDiskNamesASizeThatFits(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*Options){
		func(o *Options) { o.PartType = "msdos" },
		func(o *Options) { o.PartType, o.Roottype = "gpt", "ext2" },
		func(o *Options) { o.PartType, o.Swap = "gpt", 256*diskimage.MiB },
		func(o *Options) { o.Roottype, o.Grub = "f2fs", true },
	} {
		write := func(size diskimage.Size) error {
			planned := testPlan(t, func(o *Options) {
				change(o)
				o.Extlinux, o.Grub = false, false
			}).Disk
			planned.Request.Size = size // less than NewSpec allows
			var err error
			if planned.Layout, err = diskimage.NewLayout(planned.Request); err != nil {
				t.Fatal(err)
			}
			planned.Files = []ImageFile{{Name: filepath.Join(t.TempDir(), "x.img"), Format: "raw"}}
			_, err = assembler{tree: autoTree(t)}.write(t.Context(), *planned)
			return err
		}
		few := 40 * diskimage.MiB
		if len(testPlan(t, change).Disk.Layout.Partitions) > 1 {
			few += 256 * diskimage.MiB // for swap
		}
		err := write(few)
		tooSmall, ok := errors.AsType[*SizeError](err)
		if !ok || !strings.HasPrefix(err.Error(), "--size: ") || strings.Contains(err.Error(), "4096") ||
			!strings.Contains(err.Error(), " is too small for the content; "+tooSmall.Least.String()+" is enough") {
			t.Errorf("got %v", err)
			continue
		}
		if err := write(tooSmall.Least); err != nil {
			t.Errorf("with the size of %v: %v", tooSmall, err)
		}
		again, ok := errors.AsType[*SizeError](write(tooSmall.Least - 6*diskimage.MiB))
		if !ok || again.Least != tooSmall.Least {
			t.Errorf("with 6 MiB less: got %v, want %v", again, tooSmall)
		}
	}
}
