// SPDX-License-Identifier: Apache-2.0

package archivetest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Deb is a package to be built. Only Name is required; the defaults are version 1.0, architecture amd64 and priority
// optional.
type Deb struct {
	Name, Version, Architecture string
	Priority                    string
	Section                     string // "misc", or "contrib/misc" in another component than main
	Essential                   bool
	PreDepends, Depends         string
	Recommends, Provides        string
	Conflicts, Replaces         string
	// Fields are additional fields of the control file, by name.
	Fields map[string]string
	// Files are written in this order. Missing parent directories are added with mode 0755.
	Files []File
	// Scripts are the maintainer scripts and other files of control.tar, by name ("postinst").
	Scripts map[string]string
	// Compression is the suffix of both members: ".gz" by default, ".xz", ".zst" or ".none".
	Compression string
}

// File is one member of a package. The zero Typeflag stands for a regular file, or a symbolic link if Linkname is set.
type File struct {
	Name     string
	Typeflag byte  // of archive/tar
	Mode     int64 // permission bits; 0 stands for 0644
	UID, GID int
	Content  string
	Linkname string
	ModTime  time.Time // the zero time stands for 2025-01-01
}

func (d Deb) withDefaults() Deb {
	d.Version = cmp.Or(d.Version, "1.0")
	d.Architecture = cmp.Or(d.Architecture, "amd64")
	d.Priority = cmp.Or(d.Priority, "optional")
	d.Section = cmp.Or(d.Section, "misc")
	d.Compression = cmp.Or(d.Compression, ".gz")
	return d
}

// mainComponent is the component of sections that name none.
const mainComponent = "main"

func (d Deb) component() string {
	if component, _, ok := strings.Cut(d.Section, "/"); ok {
		return component
	}
	return mainComponent
}

// filename returns the path of the .deb below the mirror.
func (d Deb) filename() string {
	_, version, ok := strings.Cut(d.Version, ":")
	if !ok {
		version = d.Version
	}
	return fmt.Sprintf("pool/main/%s/%s/%s_%s_%s.deb", d.Name[:1], d.Name, d.Name, version, d.Architecture)
}

// control returns the text of the control file.
func (d Deb) control() string {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			b.WriteString(name + ": " + value + "\n")
		}
	}
	field("Package", d.Name)
	field("Version", d.Version)
	field("Architecture", d.Architecture)
	if d.Essential {
		field("Essential", "yes")
	}
	field("Maintainer", "archivetest <archivetest@example.org>")
	size := 0
	for _, f := range d.Files {
		size += len(f.Content)
	}
	field("Installed-Size", fmt.Sprint(size>>10+1))
	field("Pre-Depends", d.PreDepends)
	field("Depends", d.Depends)
	field("Recommends", d.Recommends)
	field("Provides", d.Provides)
	field("Conflicts", d.Conflicts)
	field("Replaces", d.Replaces)
	field("Section", d.Section)
	field("Priority", d.Priority)
	for _, name := range slices.Sorted(maps.Keys(d.Fields)) {
		field(name, d.Fields[name])
	}
	field("Description", "made for a test\n It has no other purpose.")
	return b.String()
}

// Bytes returns the .deb file. The same Deb always has the same bytes.
func (d Deb) Bytes() ([]byte, error) {
	d = d.withDefaults()
	control := []File{{Name: "control", Content: d.control()}}
	for _, name := range slices.Sorted(maps.Keys(d.Scripts)) {
		control = append(control, File{Name: name, Mode: 0o755, Content: d.Scripts[name]})
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	addMember(&b, "debian-binary", []byte("2.0\n"))
	for _, m := range []struct {
		name  string
		files []File
	}{{"control.tar", control}, {"data.tar", d.Files}} {
		plain, err := makeTar(m.files)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		data, suffix := plain, ""
		if d.Compression != ".none" {
			suffix = d.Compression
			if data, err = compressMember(plain, suffix); err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
		}
		addMember(&b, m.name+suffix, data)
	}
	return b.Bytes(), nil
}

// compressMember compresses a member by its suffix.
func compressMember(plain []byte, suffix string) ([]byte, error) {
	if suffix != ".zst" {
		return compress(plain, suffix)
	}
	w, err := zstd.NewWriter(nil)
	if err != nil {
		return nil, err
	}
	data := w.EncodeAll(plain, nil)
	return data, w.Close()
}

// addMember writes a member of an ar archive: an ASCII header padded with blanks, then the data, padded to even length.
func addMember(b *bytes.Buffer, name string, data []byte) {
	fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, date.Unix(), 0, 0, "100644", len(data))
	b.Write(data)
	if len(data)%2 == 1 {
		b.WriteByte('\n')
	}
}

// date is the default time of files.
var date = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// makeTar returns a tar archive of files and their parent directories.
func makeTar(files []File) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range withParents(files) {
		name := "./" + strings.TrimPrefix(f.Name, "/")
		if f.Name == "." {
			name = "./"
		}
		h := &tar.Header{
			Format: tar.FormatGNU, Name: name, Typeflag: f.Typeflag,
			Mode: cmp.Or(f.Mode, 0o644), Uid: f.UID, Gid: f.GID, Linkname: f.Linkname,
			Size: int64(len(f.Content)), ModTime: f.ModTime,
		}
		if h.ModTime.IsZero() {
			h.ModTime = date
		}
		if h.Typeflag == 0 && h.Linkname != "" {
			h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		}
		if h.Typeflag == tar.TypeDir && !strings.HasSuffix(h.Name, "/") {
			h.Name += "/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.Content)); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// withParents adds the parent directories of files, as in real packages. Names that leave the root, which tests use for
// attacks, are unchanged.
func withParents(files []File) []File {
	var all []File
	seen := map[string]bool{}
	for _, f := range files {
		if f.Typeflag == tar.TypeDir {
			seen[path.Clean(f.Name)] = true
		}
	}
	for _, f := range files {
		var missing []File
		for dir := path.Dir(f.Name); !strings.HasPrefix(dir, "..") && dir != "/" && !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			missing = append(missing, File{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755})
			if dir == "." {
				break
			}
		}
		slices.Reverse(missing)
		all = append(append(all, missing...), f)
	}
	return all
}
