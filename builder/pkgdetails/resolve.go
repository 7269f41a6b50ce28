// SPDX-License-Identifier: Apache-2.0

package pkgdetails

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// resolve prints the packages and what they depend on, directly or not: what debootstrap's resolve_deps finds by asking
// GETDEPS and PKGS of each Packages file until nothing new comes. A dependency that no file has, or that is one of the
// words of exclude, is left out. args are the files, "--" and the packages.
func resolve(exclude string, args []string, w *bufio.Writer) error {
	end := slices.Index(args, "--")
	if end < 0 {
		return errors.New("RESOLVE takes files, -- and packages")
	}
	var index []map[string][][]byte // of each file, the stanzas by package
	for _, name := range args[:end] {
		text, err := mapFile(name)
		if err != nil {
			return err
		}
		stanzas := map[string][][]byte{}
		each(text, func(name, stanza []byte) { stanzas[string(name)] = append(stanzas[string(name)], stanza) })
		index = append(index, stanzas)
	}
	excluded := set(strings.Fields(exclude))
	all, next := set(args[end+1:]), args[end+1:]
	for len(next) > 0 {
		found := map[string]bool{}
		for _, name := range next {
			for _, stanzas := range index {
				for _, stanza := range stanzas[name] {
					addDependencies(stanza, found)
				}
			}
		}
		next = nil
		for name := range found {
			known := slices.ContainsFunc(index, func(m map[string][][]byte) bool { return m[name] != nil })
			if known && !excluded[name] && !all[name] {
				all[name] = true
				next = append(next, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintln(w, name)
	}
	return nil
}

// debs verifies the .deb files of packages that lie in the target where debootstrap and apt look for them, and prints
// what debootstrap notes of each; "PACKAGE -" for one that the Packages file lacks. Nothing is printed and an error
// returned if a file is missing, is damaged, or has a checksum of another kind than SHA-256.
func debs(text []byte, checksum, mirror, target string, names []string, w *bufio.Writer) error {
	if checksum != "SHA256" {
		return fmt.Errorf("cannot verify a %s", checksum)
	}
	var list strings.Builder
	lines := bufio.NewWriter(&list)
	packages(text, checksum, mirror, names, lines)
	if err := lines.Flush(); err != nil {
		return err
	}
	var out strings.Builder
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(runtime.NumCPU())
	for line := range strings.Lines(list.String()) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(f) == 2 && f[1] == "-" {
			out.WriteString(line)
			continue
		}
		if len(f) != 7 {
			return fmt.Errorf("package %s: incomplete in the Packages file", f[0])
		}
		name, version, arch, file, digest, size := f[0], f[1], f[2], f[4], f[5], f[6]
		deb := "/var/cache/apt/archives/" + strings.Replace(name+"_"+version+"_"+arch+".deb", ":", "%3a", 1)
		group.Go(func() error { return verify(ctx, filepath.Join(target, deb), digest, size) })
		fmt.Fprintf(&out, "%s %s %s/%s %s\n", name, version, mirror, file, deb)
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err := w.WriteString(out.String())
	return err
}

// verify compares the SHA-256 of a file and its size, in decimal digits, with what they should be.
func verify(ctx context.Context, name, digest, size string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if strconv.FormatInt(n, 10) != size || hex.EncodeToString(h.Sum(nil)) != digest {
		return fmt.Errorf("%s is not the file of the archive", name)
	}
	return ctx.Err()
}
