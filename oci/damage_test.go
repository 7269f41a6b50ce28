// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
)

// keptStore is a closed store with three snapshots, each above the one before it, and one of another tree.
type keptStore struct {
	dir, graph, driver string
	layers             map[string]string // IDs of layers, by snapshot
	trees              map[string]string // listings of root file systems, by snapshot
}

// chained are the snapshots that rest on each other, and apart is the other one.
var chained = []string{"base", "middle", "top"}

const apart = "apart"

func newKeptStore(t *testing.T, driver string) *keptStore {
	t.Helper()
	s := &keptStore{dir: t.TempDir(), driver: driver, layers: map[string]string{}, trees: map[string]string{}}
	e, err := Open(t.Context(), EngineOptions{Place: here, StateDir: s.dir, Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	s.graph = filepath.Join(s.dir, "store-"+e.name)
	keep := func(c *Container, name string) {
		t.Helper()
		if err := c.Snapshot(t.Context(), name, map[string]string{"name": name}); err != nil {
			t.Fatal(err)
		}
		image, err := e.store.Image(name)
		if err != nil {
			t.Fatal(err)
		}
		s.layers[name], s.trees[name] = image.TopLayer, listing(t, c.Root())
	}
	c := emptyRoot(t, e)
	err = errors.Join(
		c.MkdirAll("/usr/bin", 0o755), c.WriteFile("/usr/bin/tool", []byte("program"), 0o755),
		c.Symlink("usr/bin", "/bin"),
		c.WriteFile("/secret", []byte("secret"), 0o600), c.Lchown("/secret", 0, 7),
		os.Link(c.Root()+"/secret", c.Root()+"/same"),
		unix.Setxattr(c.Root()+"/secret", "user.attribute", []byte("old"), 0),
	)
	if err != nil {
		t.Fatal(err)
	}
	keep(c, "base")
	if err := c.WriteFile("/middle", []byte("middle"), 0o644); err != nil {
		t.Fatal(err)
	}
	keep(c, "middle")
	if err := c.WriteFile("/top", []byte("top"), 0o644); err != nil {
		t.Fatal(err)
	}
	keep(c, "top")
	other := emptyRoot(t, e)
	if err := other.WriteFile("/apart", []byte("another tree"), 0o644); err != nil {
		t.Fatal(err)
	}
	keep(other, apart)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// emptyRoot returns an empty container.
func emptyRoot(t *testing.T, e *Engine) *Container {
	t.Helper()
	c, err := e.Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// listing describes the tree below a directory.
func listing(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %o %d:%d", strings.TrimPrefix(name, root), st.Mode, st.Uid, st.Gid)
		switch {
		case d.Type().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			value := make([]byte, 100)
			n, _ := unix.Lgetxattr(name, "user.attribute", value) // most have none
			fmt.Fprintf(&b, " %d %q %q", st.Nlink, data, value[:max(n, 0)])
		case d.Type() == fs.ModeSymlink:
			text, err := os.Readlink(name)
			if err != nil {
				return err
			}
			b.WriteString(" " + text)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// layer returns the driver's directory of a snapshot's layer; file returns a file in it.
func (s *keptStore) layer(name string) string {
	if s.driver == host.DriverVFS {
		return filepath.Join(s.graph, "vfs", "dir", s.layers[name])
	}
	return filepath.Join(s.graph, "overlay", s.layers[name])
}

func (s *keptStore) file(snapshot, name string) string {
	if s.driver == host.DriverVFS {
		return s.layer(snapshot) + name
	}
	return s.layer(snapshot) + "/diff" + name
}

// index returns the path of an index of the store.
func (s *keptStore) index(kind string) string {
	return filepath.Join(s.graph, s.driver+"-"+kind, kind+".json")
}

// edit changes an index of the store.
func (s *keptStore) edit(kind string, change func(entries []map[string]any)) error {
	text, err := os.ReadFile(s.index(kind))
	if err != nil {
		return err
	}
	var entries []map[string]any
	if err := json.Unmarshal(text, &entries); err != nil {
		return err
	}
	change(entries)
	if text, err = json.Marshal(entries); err != nil {
		return err
	}
	return os.WriteFile(s.index(kind), text, 0o600)
}

// exchange swaps a field of the two entries whose field by is a and b.
func exchange(entries []map[string]any, by string, a, b any, field string) {
	find := func(want any) map[string]any {
		i := slices.IndexFunc(entries, func(e map[string]any) bool { return fmt.Sprint(e[by]) == fmt.Sprint(want) })
		return entries[i]
	}
	one, two := find(a), find(b)
	one[field], two[field] = two[field], one[field]
}

// chown sets the owner of a file of a layer.
func chown(name string, o owners.Owner) error {
	if here.Isolation != host.IsolationSingle {
		return os.Lchown(name, int(o.UID), int(o.GID))
	}
	attribute, value := o.Xattr(unix.S_IFREG)
	return unix.Setxattr(name, attribute, value, 0)
}

// flip changes one bit of a file.
func flip(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// storeDamages are kinds of damage; gone are the snapshots that it must cost, all others must
// remain.
var storeDamages = []struct {
	name   string
	damage func(s *keptStore) error
	gone   []string
	driver string // only for this driver
}{
	{name: "none", damage: func(*keptStore) error { return nil }},
	{name: "a bit of the lowest layer", gone: chained,
		damage: func(s *keptStore) error { return flip(s.file("base", "/usr/bin/tool")) }},
	{name: "a bit of the topmost layer", gone: chained[2:],
		damage: func(s *keptStore) error { return flip(s.file("top", "/top")) }},
	{name: "a bit but not the mtime", gone: chained, damage: func(s *keptStore) error {
		name := s.file("base", "/usr/bin/tool")
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		return errors.Join(flip(name), os.Chtimes(name, info.ModTime(), info.ModTime()))
	}},
	{name: "a mode", gone: chained,
		damage: func(s *keptStore) error { return os.Chmod(s.file("base", "/secret"), 0o644) }},
	{name: "an owner", gone: chained, damage: func(s *keptStore) error {
		return chown(s.file("base", "/secret"), owners.Owner{UID: 1, GID: 1})
	}},
	{name: "a file cut short", gone: chained,
		damage: func(s *keptStore) error { return os.Truncate(s.file("base", "/usr/bin/tool"), 3) }},
	{name: "a file grown", gone: chained,
		damage: func(s *keptStore) error { return os.Truncate(s.file("base", "/usr/bin/tool"), 4096) }},
	{name: "a file gone", gone: chained,
		damage: func(s *keptStore) error { return os.Remove(s.file("base", "/usr/bin/tool")) }},
	{name: "a file too many", gone: chained,
		damage: func(s *keptStore) error { return os.WriteFile(s.file("base", "/usr/bin/more"), nil, 0o755) }},
	{name: "the text of a link", gone: chained, damage: func(s *keptStore) error {
		name := s.file("base", "/bin")
		return errors.Join(os.Remove(name), os.Symlink("usr/lib", name))
	}},
	{name: "an extended attribute", gone: chained, damage: func(s *keptStore) error {
		return unix.Setxattr(s.file("base", "/secret"), "user.attribute", []byte("new"), 0)
	}},
	{name: "no extended attribute", gone: chained, damage: func(s *keptStore) error {
		return unix.Removexattr(s.file("base", "/secret"), "user.attribute")
	}},
	{name: "two names that were one file", gone: chained, damage: func(s *keptStore) error {
		name := s.file("base", "/same")
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		return errors.Join(os.Remove(name), os.WriteFile(name, []byte("secret"), 0o600),
			chown(name, owners.Owner{UID: 0, GID: 7}),
			unix.Setxattr(name, "user.attribute", []byte("old"), 0), os.Chtimes(name, info.ModTime(), info.ModTime()))
	}},
	{name: "a layer gone", gone: chained[1:],
		damage: func(s *keptStore) error { return os.RemoveAll(s.layer("middle")) }},
	{name: "a file in place of a layer", gone: chained[1:], damage: func(s *keptStore) error {
		return errors.Join(os.RemoveAll(s.layer("middle")), os.WriteFile(s.layer("middle"), nil, 0o600))
	}},

	{name: "no list of the layers below", gone: chained[2:], driver: host.DriverOverlay,
		damage: func(s *keptStore) error {
			return os.Remove(s.layer("top") + "/lower")
		}},
	{name: "an empty list of the layers below", gone: chained[2:], driver: host.DriverOverlay,
		damage: func(s *keptStore) error {
			return os.Truncate(s.layer("top")+"/lower", 0)
		}},
	{name: "a list with one layer too few", gone: chained[2:], driver: host.DriverOverlay,
		damage: func(s *keptStore) error {
			text, err := os.ReadFile(s.layer("top") + "/lower")
			if err != nil {
				return err
			}
			lowest := string(text)[strings.LastIndex(string(text), ":")+1:]
			return os.WriteFile(s.layer("top")+"/lower", []byte(lowest), 0o600)
		}},
	{name: "no short name", gone: chained[1:], driver: host.DriverOverlay, damage: func(s *keptStore) error {
		return os.Remove(s.layer("middle") + "/link")
	}},
	// The driver removes the link of that name together with the layer.
	{name: "the short name of another", gone: []string{"top", "middle", apart}, driver: host.DriverOverlay,
		damage: func(s *keptStore) error {
			text, err := os.ReadFile(s.layer(apart) + "/link")
			return errors.Join(err, os.WriteFile(s.layer("middle")+"/link", text, 0o600))
		}},
	{name: "no link to a layer", gone: chained[1:], driver: host.DriverOverlay, damage: func(s *keptStore) error {
		text, err := os.ReadFile(s.layer("middle") + "/link")
		return errors.Join(err, os.Remove(filepath.Join(s.graph, "overlay/l", string(text))))
	}},
	{name: "a link to another layer", gone: chained[1:], driver: host.DriverOverlay, damage: func(s *keptStore) error {
		text, err := os.ReadFile(s.layer("middle") + "/link")
		name := filepath.Join(s.graph, "overlay/l", string(text))
		return errors.Join(err, os.Remove(name), os.Symlink("../"+s.layers[apart]+"/diff", name))
	}},

	{name: "layers of two images exchanged", gone: []string{"top", apart}, damage: func(s *keptStore) error {
		return s.edit("images",
			func(all []map[string]any) { exchange(all, "layer", s.layers["top"], s.layers[apart], "layer") })
	}},
	{name: "names of two images exchanged", gone: []string{"top", apart}, damage: func(s *keptStore) error {
		return s.edit("images",
			func(all []map[string]any) { exchange(all, "layer", s.layers["top"], s.layers[apart], "names") })
	}},
	{name: "records of two images exchanged", gone: []string{"top", apart}, damage: func(s *keptStore) error {
		return s.edit("images",
			func(all []map[string]any) { exchange(all, "layer", s.layers["top"], s.layers[apart], "metadata") })
	}},
	{name: "a label", gone: []string{"top"}, damage: func(s *keptStore) error {
		text, err := os.ReadFile(s.index("images"))
		if err != nil {
			return err
		}
		damaged := strings.Replace(string(text), `\"name\":\"top\"`, `\"name\":\"tip\"`, 1)
		if damaged == string(text) {
			return errors.New("the label is not there")
		}
		return os.WriteFile(s.index("images"), []byte(damaged), 0o600)
	}},
	{name: "a layer put on another", gone: []string{"top"}, damage: func(s *keptStore) error {
		return s.edit("layers", func(all []map[string]any) {
			for _, l := range all {
				if l["id"] == s.layers["top"] {
					l["parent"] = s.layers[apart]
				}
			}
		})
	}},
	{name: "a layer put on itself", gone: chained, damage: func(s *keptStore) error {
		return s.edit("layers", func(all []map[string]any) {
			for _, l := range all {
				if l["id"] == s.layers["base"] {
					l["parent"] = s.layers["base"]
				}
			}
		})
	}},
	{name: "digests of two layers exchanged", gone: append([]string{apart}, chained...),
		damage: func(s *keptStore) error {
			return s.edit("layers",
				func(all []map[string]any) { exchange(all, "id", s.layers["base"], s.layers[apart], "metadata") })
		}},
}

// ruins are kinds of files in place of a file of the store.
var ruins = []struct {
	name string
	ruin func(name string) error
}{
	{"gone", os.Remove},
	{"empty", func(name string) error { return os.Truncate(name, 0) }},
	{"cut short", func(name string) error {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		return os.Truncate(name, info.Size()/2)
	}},
	{"garbage", func(name string) error { return os.WriteFile(name, []byte("\x00\xffgarbage"), 0o600) }},
	{"of another form", func(name string) error { return os.WriteFile(name, []byte(`{"id": 1}`), 0o600) }},
	{"a directory", func(name string) error { return errors.Join(os.Remove(name), os.MkdirAll(name+"/in", 0o700)) }},
	{"unreadable", func(name string) error { return os.Chmod(name, 0) }},
}

// Issue 12: a build gets the right tree or none, never another one, and can always open the store.
func TestDamagedSnapshotsAreNotUsed(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		for _, d := range storeDamages {
			if d.driver != "" && d.driver != driver {
				continue
			}
			t.Run(driver+"/"+d.name, func(t *testing.T) {
				if driver == host.DriverOverlay {
					needsNamespaces(t)
				}
				t.Parallel()
				s := newKeptStore(t, driver)
				if err := d.damage(s); err != nil {
					t.Fatal(err)
				}
				there := s.use(t)
				for name := range s.layers {
					// vfs copies: a layer contains everything below it, so it can be intact even if
					// it rests on damage.
					if want := !slices.Contains(d.gone, name); there[name] != want {
						t.Errorf("%s is there: %v, want %v", name, there[name], want)
					}
				}
			})
		}
	}
}

func TestStoreRecoversFromRuinedFiles(t *testing.T) {
	t.Parallel()
	// These files do not depend on the driver, and vfs works everywhere.
	ruin := func(what string, file func(s *keptStore) string) {
		for _, r := range ruins {
			t.Run(what+"/"+r.name, func(t *testing.T) {
				t.Parallel()
				s := newKeptStore(t, host.DriverVFS)
				if err := r.ruin(file(s)); err != nil {
					t.Fatal(err)
				}
				s.use(t)
			})
		}
	}
	ruin("images", func(s *keptStore) string { return s.index("images") })
	ruin("layers", func(s *keptStore) string { return s.index("layers") })
	lock := func(name string) string { return strings.TrimSuffix(name, ".json") + ".lock" }
	ruin("the lock of images", func(s *keptStore) string { return lock(s.index("images")) })
	ruin("the lock of layers", func(s *keptStore) string { return lock(s.index("layers")) })
	ruin("the lock of the store", func(s *keptStore) string { return filepath.Join(s.graph, "storage.lock") })
	ruin("the lock of the sessions", func(s *keptStore) string { return filepath.Join(s.dir, "sessions.lock") })
	ruin("the sessions", func(s *keptStore) string {
		name := filepath.Join(s.dir, "sessions")
		if err := errors.Join(os.RemoveAll(name), os.WriteFile(name, []byte("sessions"), 0o600)); err != nil {
			t.Error(err)
		}
		return name
	})
	ruin("a session", func(s *keptStore) string {
		name := filepath.Join(s.dir, "sessions", "KILLED")
		if err := os.WriteFile(name, []byte("session"), 0o600); err != nil {
			t.Error(err)
		}
		return name
	})
	ruin("the lock of a session", func(s *keptStore) string { return s.killed(t, "lock") })
	ruin("the store of a session", func(s *keptStore) string { return s.killed(t, "driver") })
}

// killed creates a killed session and returns the path of a file in it.
func (s *keptStore) killed(t *testing.T, file string) string {
	dir := filepath.Join(s.dir, "sessions", "KILLED")
	err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "lock"), []byte("lock"), 0o600),
		os.WriteFile(filepath.Join(dir, "driver"), []byte(strings.TrimPrefix(filepath.Base(s.graph), "store-")), 0o600))
	if err != nil {
		t.Error(err)
	}
	return filepath.Join(dir, file)
}

// use starts from each snapshot like a build, and returns which of them existed. Those must have
// the right tree; it must be possible to create all of them again, and to remove all of them in the
// end.
func (s *keptStore) use(t *testing.T) (there map[string]bool) {
	t.Helper()
	e, err := Open(t.Context(), EngineOptions{Place: here, StateDir: s.dir, Driver: s.driver})
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	there = map[string]bool{}
	for _, name := range []string{"top", "middle", "base", apart} { // a build starts from the latest one
		c, err := e.From(t.Context(), name)
		if errors.Is(err, fs.ErrNotExist) {
			if e.Has(name) {
				t.Errorf("%s cannot be used but still exists: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("start from %s: %v", name, err)
		}
		there[name] = true
		if got := listing(t, c.Root()); got != s.trees[name] {
			t.Errorf("%s has another tree:\n%s\nwant:\n%s", name, got, s.trees[name])
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c := emptyRoot(t, e)
	for _, name := range chained {
		if err := errors.Join(c.WriteFile("/"+name, nil, 0o644), c.Snapshot(t.Context(), name, nil)); err != nil {
			t.Fatalf("create %s again: %v", name, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = e.From(t.Context(), "top"); err != nil {
		t.Fatalf("start from the new one: %v", err)
	}
	if err := errors.Join(c.Close(), e.Close()); err != nil {
		t.Fatal(err)
	}
	if e, err = Open(t.Context(), EngineOptions{Place: here, StateDir: s.dir, Driver: s.driver}); err != nil {
		t.Fatalf("open the store again: %v", err)
	}
	for _, name := range append([]string{apart}, chained...) {
		if err := e.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return there
}
