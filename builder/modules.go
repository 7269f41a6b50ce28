// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/depmod"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// moduleIndexes are the indexes of the modules of one version of the kernel, see package depmod.
type moduleIndexes struct {
	version string
	// packages are those of the kernel and of depmod; key is the digest of their digests.
	packages []*archive.Package
	key      string
}

// kernelPackage matches the packages that have the modules of a version of the kernel, which is the last group, or
// lists of them: since Linux 7, those are in linux-base.
var kernelPackage = regexp.MustCompile(`^linux-(image|base|modules|modules-extra)-([0-9].*)$`)

// moduleIndexesOf returns the indexes that the packages need, from an index that has depmod's package too.
func moduleIndexesOf(packages []*archive.Package, index *archive.Index) ([]moduleIndexes, error) {
	byVersion := map[string][]*archive.Package{}
	var versions []string
	for _, p := range packages {
		if m := kernelPackage.FindStringSubmatch(p.Name); m != nil {
			version := strings.TrimSuffix(m[2], "-unsigned")
			if byVersion[version] == nil {
				versions = append(versions, version)
			}
			byVersion[version] = append(byVersion[version], p)
		}
	}
	if len(versions) == 0 {
		return nil, nil
	}
	// Since version 34, it loads the libraries that decompress modules only if they are there, and depends on none.
	want := []string{"kmod"}
	for _, library := range []string{"liblzma5", "libzstd1", "zlib1g"} {
		if index.Lookup(library) != nil {
			want = append(want, library)
		}
	}
	program, err := index.Closure(want, archive.ClosureOptions{})
	if err != nil {
		return nil, fmt.Errorf("choose the packages of depmod: %w", err)
	}
	for _, p := range program {
		if !slices.Contains(packages, p) {
			return nil, nil // it is there already, or not to be installed at all
		}
	}
	var all []moduleIndexes
	for _, version := range versions {
		m := moduleIndexes{version: version, packages: append(slices.Clone(byVersion[version]), program...)}
		const format = "1"
		h := sha256.New()
		fmt.Fprintln(h, format, version)
		for _, p := range m.packages {
			fmt.Fprintln(h, p.SHA256)
		}
		m.key = hex.EncodeToString(h.Sum(nil))
		all = append(all, m)
	}
	return all, nil
}

// make has depmod make the indexes in a container of the packages alone, and keeps them in the cache. It returns the
// digest of their archive. environ has variables of the emulator.
func (m moduleIndexes) make(ctx context.Context, x *Executor, environ []string) (digest string, err error) {
	c, err := x.Engine.Scratch(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	debs, err := x.cachedFiles(ctx, m.packages)
	if err != nil {
		return "", err
	}
	options := debfile.Options{Exclude: debfile.Documentation(), MergedUsr: true, SkipOwners: true}
	if err := debfile.Unpack(ctx, debs, c.Root(), options); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(c.Root())
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return x.Archive.Cache.AddDerived(ctx, archive.ModulesKind, m.key, func(w io.Writer) error {
		return depmod.Index(w, root.FS(), m.version, func(args ...string) error {
			var out strings.Builder
			err := c.Run(ctx, &specs.Process{Args: args, Cwd: "/", Env: slices.Concat(step.BaseEnv, environ)}, nil,
				strings.NewReader(""), &out)
			if err == nil && out.Len() > 0 { // it goes on without a module that it cannot read
				err = errors.New("warnings")
			}
			if err != nil {
				return fmt.Errorf("run %s: %w: %s", strings.Join(args, " "), err, out.String())
			}
			return nil
		})
	})
}

// cachedFiles returns the files of packages in the cache, whose contents it has checked: the copies that take less time
// to decompress, where there are some.
func (x *Executor) cachedFiles(ctx context.Context, packages []*archive.Package) ([]string, error) {
	debs := make([]string, len(packages))
	for i, p := range packages {
		if ok, err := x.Archive.Cache.Verify(ctx, p.SHA256); err != nil || !ok {
			return nil, errors.Join(err, fmt.Errorf("package %s is not in the cache", p.Name))
		}
		debs[i] = x.Archive.Cache.Path(p.SHA256)
		if repacked := x.Archive.Cache.Derived(archive.RepackedKind, p.SHA256); repacked != "" {
			if ok, err := x.Archive.Cache.Verify(ctx, repacked); err == nil && ok {
				debs[i] = x.Archive.Cache.Path(repacked)
			}
		}
	}
	return debs, nil
}
