// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// readNames records the names of the files that are read.
type readNames struct {
	*targettest.Target
	mu    sync.Mutex
	names []string
}

func (f *readNames) ReadFile(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names = append(f.names, name)
	return f.Target.ReadFile(name)
}

// lateIndex returns an index in dir for which no file is racy.
func lateIndex(dir string) *digestIndex {
	return &digestIndex{
		file: filepath.Join(dir, "inputs.json"), now: func() time.Time { return time.Now().Add(time.Hour) },
	}
}

// indexedReader returns a reader of the files of f with an index.
func indexedReader(t *testing.T, f *targettest.Target, x *digestIndex) (inputReader, *readNames) {
	t.Helper()
	root, err := f.Lstat("/")
	if err != nil {
		t.Fatal(err)
	}
	counted := &readNames{Target: f}
	return inputReader{target: counted, hidden: []string{"1111-2222"}, index: x, dev: stateOf(root).Dev}, counted
}

// changeKeepingTime calls change, until the file that has the name then is another one or has another ctime: the
// kernel's clock is coarse. The file keeps its mtime.
func changeKeepingTime(name string, change func() error) error {
	var was, is unix.Stat_t
	if err := unix.Lstat(name, &was); err != nil {
		return err
	}
	for is = was; is.Ino == was.Ino && is.Ctim == was.Ctim; {
		err := errors.Join(change(), os.Chtimes(name, time.Time{}, time.Unix(was.Mtim.Unix())), unix.Lstat(name, &is))
		if err != nil {
			return err
		}
	}
	if was.Size != is.Size || was.Mtim != is.Mtim {
		return fmt.Errorf("%s has another size or time", name)
	}
	return nil
}

func TestInputsAreReadAgainIfTheyMayHaveChanged(t *testing.T) {
	t.Parallel()
	const module, fstab, dir = "/usr/lib/modules/a.ko", "/etc/fstab", "/usr/lib/modules"
	// A file outside of /usr that may have IDs of the image is always read.
	all, some := []string{fstab, module}, []string{fstab}
	for name, tt := range map[string]struct {
		// change changes f, the index, or the reader.
		change        func(f *targettest.Target, x *digestIndex, r *inputReader) error
		changed, read []string
	}{
		"nothing": {func(*targettest.Target, *digestIndex, *inputReader) error { return nil }, nil, some},
		"the content, but neither size nor time": {func(f *targettest.Target, _ *digestIndex, _ *inputReader) error {
			name := f.Path(module)
			return changeKeepingTime(name, func() error { return os.WriteFile(name, []byte("2"), 0) })
		}, []string{module}, all},
		"another file of the same size and time": {func(f *targettest.Target, _ *digestIndex, _ *inputReader) error {
			name := f.Path(module)
			return changeKeepingTime(name, func() error {
				return errors.Join(os.WriteFile(name+"~", []byte("2"), 0o644), os.Rename(name+"~", name))
			})
		}, []string{module}, all},
		"another file with the same content": {func(f *targettest.Target, _ *digestIndex, _ *inputReader) error {
			name := f.Path(module)
			return errors.Join(os.WriteFile(name+"~", []byte("1"), 0o644), os.Rename(name+"~", name))
		}, nil, all},
		"the mode": {func(f *targettest.Target, _ *digestIndex, _ *inputReader) error {
			name := f.Path(module)
			return changeKeepingTime(name, func() error { return os.Chmod(name, 0o600) })
		}, []string{dir, module}, all},
		"a removed file": {func(f *targettest.Target, _ *digestIndex, _ *inputReader) error {
			return f.Remove(module)
		}, []string{dir, module}, some},
		"a file system with the same inode numbers": {func(_ *targettest.Target, _ *digestIndex, r *inputReader) error {
			r.dev++
			return nil
		}, nil, all},
		"a damaged index": {func(_ *targettest.Target, x *digestIndex, _ *inputReader) error {
			return os.WriteFile(x.file, []byte(`{"1": {"Ino": `), 0o600)
		}, nil, all},
		"an index of nothing": {func(_ *targettest.Target, x *digestIndex, _ *inputReader) error {
			return os.WriteFile(x.file, []byte("null"), 0o600)
		}, nil, all},
		"the index is gone": {func(_ *targettest.Target, x *digestIndex, _ *inputReader) error {
			return os.Remove(x.file)
		}, nil, all},
		"other IDs": {func(f *targettest.Target, _ *digestIndex, r *inputReader) error {
			r.hidden = []string{"3333-4444"}
			return f.WriteFile(fstab, []byte("UUID=3333-4444"), 0o644)
		}, nil, some},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := targettest.New(t, map[string]string{module: "1", fstab: "UUID=1111-2222"})
			records := t.TempDir()
			first := lateIndex(records)
			r, _ := indexedReader(t, f, first)
			was, err := r.read([]string{module, fstab})
			if err == nil {
				err = first.save(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			next := lateIndex(records)
			r, read := indexedReader(t, f, next)
			if err := tt.change(f, next, &r); err != nil {
				t.Fatal(err)
			}
			changed, err := r.changes(was)
			if err != nil || !slices.Equal(changed, tt.changed) {
				t.Errorf("these have changed: %q (%v), want %q", changed, err, tt.changed)
			}
			if slices.Sort(read.names); !slices.Equal(read.names, tt.read) {
				t.Errorf("these were read: %q, want %q", read.names, tt.read)
			}
		})
	}
}

// A change within the resolution of times leaves the state of a file as it was.
func TestFilesThatHaveJustChangedAreNotIndexed(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/usr/a": "1"})
	info, err := f.Lstat("/usr/a")
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]int{racy - 1: 0, racy: 1, -time.Hour: 0} {
		x := lateIndex(t.TempDir())
		x.now = func() time.Time { return time.Unix(0, stateOf(info).Ctime).Add(after) }
		r, _ := indexedReader(t, f, x)
		if _, err := r.read([]string{"/usr/a"}); err != nil || len(x.entries) != want {
			t.Errorf("after %v, %d files are indexed (%v), want %d", after, len(x.entries), err, want)
		}
	}
}

func TestFullIndexKeepsWhatThisBuildUses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x := lateIndex(dir)
	state := func(i int) fileState { return fileState{Ino: uint64(i)} }
	key := func(i int) string { return fmt.Sprint(i) }
	for i := range maxIndexed {
		x.lookup(key(i), state(i))
		x.add(key(i), state(i), "digest")
	}
	for _, tt := range []struct{ used, added, want int }{
		{used: 1, added: 0, want: maxIndexed}, {used: 1, added: maxIndexed, want: 2},
	} {
		if err := x.save(t.Context()); err != nil {
			t.Fatal(err)
		}
		x = lateIndex(dir)
		if _, found := x.lookup(key(tt.used), state(tt.used)); !found {
			t.Fatalf("%+v: it is not in the index", tt)
		}
		x.add(key(tt.added), state(tt.added), "digest")
		if err := x.save(t.Context()); err != nil {
			t.Fatal(err)
		}
		x = lateIndex(dir)
		if x.lookup("", fileState{}); len(x.entries) != tt.want {
			t.Errorf("%+v: the index has %d files", tt, len(x.entries))
		}
		if _, found := x.lookup(key(tt.used), state(tt.used)); !found {
			t.Errorf("%+v: it has lost what the build has used", tt)
		}
	}
}

// With a fixed time, older files keep their times in the initramfs.
func TestTimesAreInputsIfOutputRecordsThem(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/usr/a": "1"})
	at := func(seconds int64, epoch time.Time) Digest {
		t.Helper()
		if err := os.Chtimes(f.Path("/usr/a"), time.Unix(seconds, 0), time.Unix(seconds, 0)); err != nil {
			t.Fatal(err)
		}
		r, _ := indexedReader(t, f, lateIndex(t.TempDir()))
		r.epoch = epoch
		first, err := r.read([]string{"/usr/a"})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := r.changes(first); err != nil || len(again) > 0 {
			t.Errorf("by the index, %q have changed (%v)", again, err)
		}
		return first["/usr/a"]
	}
	epoch := time.Unix(100, 0)
	if at(1, time.Time{}) != at(2, time.Time{}) {
		t.Error("times count without an epoch")
	}
	if at(1, epoch) == at(2, epoch) {
		t.Error("times before the epoch do not count")
	}
	if at(101, epoch) != at(102, epoch) {
		t.Error("times after the epoch count")
	}
}

// A directory may be reached through a link, which is an input as well.
func TestInputsBehindLinksAreFound(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/usr/real/a": "1", "/etc/": ""})
	if err := f.Symlink("../usr/real", "/etc/link"); err != nil {
		t.Fatal(err)
	}
	r, _ := indexedReader(t, f, nil)
	was, err := r.read([]string{"/etc/link/a", "/etc/link/missing", "/gone/b"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range was {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"/", "/etc", "/etc/link", "/etc/link/a"}; !slices.Equal(names, want) {
		t.Errorf("the inputs are %q, want %q", names, want)
	}
	if err := f.WriteFile("/usr/real/a", []byte("2"), fs.FileMode(0o644)); err != nil {
		t.Fatal(err)
	}
	if changed, err := r.changes(was); err != nil || !slices.Equal(changed, []string{"/etc/link/a"}) {
		t.Errorf("these have changed: %q (%v)", changed, err)
	}
}
