// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A digest shows that something has changed, but not what. So records of its inputs are saved in files beside
// the store, for --explain-cache. No decision depends on them: a record that is missing, damaged or on
// another machine only makes an explanation less precise.

// records is the directory of these files; "" for none.
type records string

// maxRecords limits the number of records. Each takes up to a few megabytes, for a home directory.
const maxRecords = 64

// path returns the file of a record. The digest may come from another machine, so it is untrusted.
func (r records) path(digest string) string {
	return filepath.Join(string(r), filepath.Base(digest)+".json.gz")
}

// read returns a record; nil if there is none.
func (r records) read(digest string) map[string]string {
	if r == "" || digest == "" {
		return nil
	}
	f, err := os.Open(r.path(digest))
	if err != nil {
		return nil
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil
	}
	var text map[string]string
	if json.NewDecoder(z).Decode(&text) != nil {
		return nil
	}
	return text
}

// write saves a record unless it exists, and prunes old ones.
func (r records) write(digest string, record func() map[string]string) (err error) {
	if _, err := os.Lstat(r.path(digest)); err == nil {
		return nil
	}
	if err := os.MkdirAll(string(r), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(string(r), "new-") // of mode 0600
	if err != nil {
		return err
	}
	z := gzip.NewWriter(f)
	err = errors.Join(json.NewEncoder(z).Encode(record()), z.Close(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), r.path(digest))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return r.prune()
}

// prune removes the oldest records above the limit, and temporary files of interrupted builds.
func (r records) prune() error {
	entries, err := os.ReadDir(string(r))
	if err != nil || len(entries) <= maxRecords {
		return err
	}
	ages := map[string]int64{}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".json" {
			continue // an index of digests
		}
		if info, err := e.Info(); err == nil {
			ages[e.Name()] = info.ModTime().UnixNano()
		}
	}
	names := slices.SortedFunc(maps.Keys(ages), func(a, b string) int { return cmp.Compare(ages[a], ages[b]) })
	var errs []error
	for _, name := range names[:max(0, len(names)-maxRecords)] {
		errs = append(errs, os.RemoveAll(filepath.Join(string(r), name)))
	}
	return errors.Join(errs...)
}

// record saves what a view consists of.
func (v *view) record(r records) error {
	if v == nil || r == "" {
		return nil
	}
	var errs []error
	for _, d := range v.dirs {
		errs = append(errs, r.write(string(v.Shared[d.Name]), d.record))
	}
	errs = append(errs, r.write(v.Environ, func() map[string]string {
		hashes := map[string]string{}
		for _, kv := range v.variables {
			name, _, _ := strings.Cut(kv, "=")
			hashes[name] = valueHash(v.Environ, kv)
		}
		return hashes
	}))
	return errors.Join(errs...)
}

// valueHash returns two hexadecimal digits that distinguish values of a variable but do not help to guess a secret.
func valueHash(salt, kv string) string { return string(HashOf(salt, kv)[:2]) }

// record returns what can be seen of each file.
func (d listedDir) record() map[string]string {
	record := make(map[string]string, len(d.entries))
	for _, e := range d.entries {
		record[e.name] = e.seen
	}
	return record
}

// changed describes what has changed in a shared directory since it had the digest was.
func (r records) changed(was Digest, d listedDir) string {
	before, now := r.read(string(was)), d.record()
	if before == nil {
		return "something in " + d.Path + " has changed"
	}
	var names []string
	for name, seen := range now {
		if before[name] != seen {
			names = append(names, filepath.Join(d.Path, name))
		}
	}
	for name := range before {
		if _, there := now[name]; !there {
			names = append(names, filepath.Join(d.Path, name))
		}
	}
	if len(names) == 0 {
		return filepath.Join(d.Path, IgnoreName) + " has changed"
	}
	slices.Sort(names)
	verb := "has"
	if len(names) > 1 {
		verb = "have"
	}
	return fmt.Sprintf("%s %s changed", firstNames(names), verb)
}

// changedVariables lists the variables that have changed since their hash was another.
func (r records) changedVariables(was string, variables []string) string {
	before := r.read(was)
	var names []string
	now := map[string]bool{}
	for _, kv := range variables {
		name, _, _ := strings.Cut(kv, "=")
		now[name] = true
		if before[name] != valueHash(was, kv) {
			names = append(names, name)
		}
	}
	for name := range before {
		if !now[name] {
			names = append(names, name)
		}
	}
	if before == nil || len(names) == 0 {
		return "a variable has changed"
	}
	slices.Sort(names)
	return strings.ReplaceAll(firstNames(names), "\n", " ")
}
