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

// A digest says that something is another, but not what. So what it is made of is recorded in files beside the store,
// for --explain-cache. No decision rests on them: whatever is lost, damaged or another machine's is only not explained.

// records is the directory with such files; "" for none.
type records string

// mostRecords is how many are kept. Each takes up to a few megabytes, for a home directory.
const mostRecords = 64

// path is the file of a record. A digest may be another machine's.
func (r records) path(digest string) string {
	return filepath.Join(string(r), filepath.Base(digest)+".json.gz")
}

// read gives a record; nil if there is none.
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

// write keeps a record, unless there is one, and removes the oldest of too many.
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

// prune removes the oldest records of too many, and what interrupted builds have left.
func (r records) prune() error {
	entries, err := os.ReadDir(string(r))
	if err != nil || len(entries) <= mostRecords {
		return err
	}
	ages := map[string]int64{}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".json" {
			continue // that of contents
		}
		if info, err := e.Info(); err == nil {
			ages[e.Name()] = info.ModTime().UnixNano()
		}
	}
	names := slices.SortedFunc(maps.Keys(ages), func(a, b string) int { return cmp.Compare(ages[a], ages[b]) })
	var errs []error
	for _, name := range names[:max(0, len(names)-mostRecords)] {
		errs = append(errs, os.RemoveAll(filepath.Join(string(r), name)))
	}
	return errors.Join(errs...)
}

// record writes down what a view consists of.
func (v *view) record(r records) error {
	if v == nil || r == "" {
		return nil
	}
	var errs []error
	for _, d := range v.dirs {
		errs = append(errs, r.write(string(v.Lent[d.Name]), d.record))
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

// valueHash tells values of a variable apart, and nothing more: two hexadecimal digits are no help to guess a secret.
func valueHash(salt, kv string) string { return string(HashOf(salt, kv)[:2]) }

func (d lentDir) record() map[string]string {
	record := make(map[string]string, len(d.entries))
	for _, e := range d.entries {
		record[e.name] = e.seen
	}
	return record
}

// changed says what is not as it was in a lent directory whose digest was another.
func (r records) changed(was Digest, d lentDir) string {
	before, now := r.read(string(was)), d.record()
	if before == nil {
		return "something in " + d.Path + " is not as it was"
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
		return filepath.Join(d.Path, IgnoreName) + " is not as it was"
	}
	slices.Sort(names)
	verb := "is"
	if len(names) > 1 {
		verb = "are"
	}
	return fmt.Sprintf("%s %s not as it was", someOf(names), verb)
}

// changedVariables names the variables that are not as they were when their hash was another.
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
		return "a variable is not as it was"
	}
	slices.Sort(names)
	return strings.ReplaceAll(someOf(names), "\n", " ")
}
