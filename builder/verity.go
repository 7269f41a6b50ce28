// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/verity"
)

// verityTypes are the types of root file systems that can be verified: a file system that the kernel mounts read-only
// without writing to the device first.
var verityTypes = []string{"ext4", "squashfs", "erofs"}

// verityOptions are what the root hash depends on besides the root file system: the same seed gives the same hash.
func verityOptions(seed uuid.UUID) verity.Options {
	salt := diskimage.DeriveID(seed, "verity salt of /")
	sum := sha256.Sum256(salt[:])
	return verity.Options{UUID: diskimage.DeriveID(seed, "verity of /"), Salt: sum[:]}
}

// verityStep is what the initramfs needs.
func (d Disk) verityStep() step.Verity { return step.Verity{Mapping: boot.VerityMapping} }

// verified is the root file system of a disk with dm-verity.
type verified struct {
	// root is the finished file system, in a file that has no name, which the caller closes.
	root *os.File
	// volume is the content of the root partition, and tree that of its hash tree.
	volume diskimage.Volume
	tree   *verity.Tree
}

// verify makes the root file system of a disk in a file, and its hash tree. The root hash is on the kernel's command
// line, and the partitions have IDs made of it: so the disk is known only then. made is the file system if it was made
// to know the size of the disk.
func (a assembler) verify(ctx context.Context, d Disk, made *os.File) (Disk, verified, error) {
	a.report.Message("make the hash tree of the root file system")
	p := d.Root()
	v, err := a.verifiedRoot(ctx, d, made)
	if err != nil {
		return d, v, err
	}
	size := p.Size
	if d.Slots != nil { // the slot of another machine can have another size
		info, err := v.root.Stat()
		if err != nil {
			return d, v, err
		}
		size = wholeBlocks(info.Size())
	}
	if v.tree, err = verity.New(ctx, v.root, size, d.Verity); err != nil {
		return d, v, fmt.Errorf("%s of %s: %w", p, d.Image, err)
	}
	d.RootHash = v.tree.RootHash()
	a.report.Message("root hash: " + d.RootHash)
	root, tree := v.tree.PartitionIDs()
	d.Request.Partitions = slices.Clone(d.Request.Partitions)
	for i := range d.Request.Partitions {
		switch p := &d.Request.Partitions[i]; p.Role {
		case diskimage.RoleRoot:
			p.ID = root
		case diskimage.RoleRootVerity:
			p.ID = tree
		}
	}
	d.Layout, err = diskimage.NewLayout(d.Request)
	return d, v, err
}

// verifiedRoot writes the root file system to a file.
func (a assembler) verifiedRoot(ctx context.Context, d Disk, made *os.File) (v verified, err error) {
	p := d.Root()
	kind := filesystem.Lookup(p.Filesystem.Type)
	if kind.Program != nil {
		volume := a.programVolume(d, p)
		if v.root = made; made == nil {
			if v.root, err = volume.Make(ctx); err != nil {
				return v, err
			}
		}
		volume.Made, v.volume = v.root, volume
		return v, nil
	}
	tree, err := d.tree(p, a.tree, nil)
	if err != nil {
		return v, fmt.Errorf("%s of %s: %w", p, d.Image, err)
	}
	volume, err := kind.Formatter.Plan(p.Size, p.Filesystem, tree)
	if err != nil {
		return v, fmt.Errorf("%s of %s: %w", p, d.Image, err)
	}
	if v.root, err = diskimage.TemporaryFile(filepath.Dir(d.Image)); err != nil {
		return v, fmt.Errorf("make a temporary file for %s of %s: %w", p, d.Image, err)
	}
	v.volume = writtenVolume{volume, v.root}
	err = v.root.Truncate(int64(p.Size))
	if err == nil {
		err = volume.Write(ctx, v.root)
	}
	if err != nil {
		err = fmt.Errorf("write %s of %s: %w", p, d.Image, err)
	}
	return v, err
}

// writtenVolume is a file system that has been written to a file. It does not tell free space from zeros: with a hash
// tree every byte matters.
type writtenVolume struct {
	diskimage.Volume
	file *os.File
}

// Write implements diskimage.Volume.
func (w writtenVolume) Write(ctx context.Context, dst io.WriterAt) error {
	return diskimage.CopyFile(ctx, dst, w.file)
}

// verityPackages are the packages that set up the root device.
func (s Spec) verityPackages() []string {
	if !s.o.Verity {
		return nil
	}
	return []string{"cryptsetup-bin"}
}

// verityPossible: the image has a root file system that can be verified, and something that is itself verified has the
// root hash.
func verityPossible(s Spec) []error {
	const flag = "--verity"
	if !s.o.Verity {
		return nil
	}
	if s.o.Image == "" {
		return problem.New(flag, "needs --image as well")
	}
	var problems []error
	if _, ok := s.loader.(boot.SystemdBoot); !ok {
		problems = append(problems, problem.New(flag, "%s has no place for the root hash: use --boot=%s with "+
			"--part-type=gpt, whose kernel images have a command line of their own", s.loader, boot.WordSystemdBoot)...)
	}
	if !slices.Contains(verityTypes, s.o.Roottype) {
		problems = append(problems, problem.New(flag, "a root file system of type %s cannot be verified: choose one of %s "+
			"with --roottype", s.o.Roottype, strings.Join(verityTypes, ", "))...)
	}
	if s.o.LUKS {
		problems = append(problems, problem.New(flag, "is not possible with --luks: drop one of them")...)
	}
	return problems
}
