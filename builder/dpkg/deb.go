// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"

	"golang.org/x/sync/semaphore"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
)

// controlFile is a member of control.tar.
type controlFile struct {
	name   string
	header *tar.Header
	data   []byte
}

// member is a member of data.tar.
type member struct {
	// path begins with a slash; that of the root directory is "/.", as in dpkg's lists.
	path    string
	header  *tar.Header
	content []byte
}

// deb is a package that has been read.
type deb struct {
	file    string
	control []controlFile
	// text is the control file, fields are those of it.
	text   string
	fields archive.Stanza
	// members are in the order in which dpkg takes them: symbolic links come last (lib/dpkg/tarfn.c).
	members []member
}

// find returns a control file, or nil.
func (d *deb) find(name string) *controlFile {
	for i := range d.control {
		if d.control[i].name == name {
			return &d.control[i]
		}
	}
	return nil
}

func (d *deb) name() string    { return d.fields.Get("Package") }
func (d *deb) version() string { return d.fields.Get("Version") }
func (d *deb) arch() string    { return d.fields.Get("Architecture") }

// infoName is the name by which dpkg knows the package where that without the architecture could mean another.
func (d *deb) infoName() string { return infoName(d.fields) }

func infoName(fields archive.Stanza) string {
	if fields.Get("Multi-Arch") == "same" {
		return fields.Get("Package") + ":" + fields.Get("Architecture")
	}
	return fields.Get("Package")
}

// conffiles are the names in the control file conffiles. Lines with a flag are an error.
func (d *deb) conffiles() ([]string, error) {
	f := d.find("conffiles")
	if f == nil {
		return nil, nil
	}
	var names []string
	for line := range strings.Lines(string(f.data)) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" {
			continue
		}
		if !strings.HasPrefix(line, "/") {
			return nil, fmt.Errorf("conffiles has the line %q", line)
		}
		names = append(names, line)
	}
	return names, nil
}

// Limits of what is read in advance, in bytes. A package with more is left to the real dpkg, which holds none of it
// in memory.
const (
	maxMember = 1 << 30
	maxAhead  = 512 << 20
)

// reader reads packages in advance, as many at a time as there are processors.
type reader struct {
	workers *semaphore.Weighted
	memory  *semaphore.Weighted
	// packages is DerivedDir, or nil.
	packages *os.Root
}

// pending is a package that is being read.
type pending struct {
	file string
	done chan struct{}
	deb  *deb
	err  error
	// weight is what the package holds of the reader's memory.
	weight int64
	reader *reader
}

// newReader returns a reader with that many workers.
func newReader(workers int64, packages *os.Root) *reader {
	return &reader{semaphore.NewWeighted(workers), semaphore.NewWeighted(maxAhead), packages}
}

// readAll begins to read files, in their order.
func (r *reader) readAll(ctx context.Context, files []string) []*pending {
	all := make([]*pending, len(files))
	for i := range files {
		all[i] = &pending{file: files[i], done: make(chan struct{}), reader: r}
	}
	go func() {
		for i, file := range files {
			r.begin(ctx, all[i], file)
		}
	}()
	return all
}

// begin waits for memory and a worker, and reads a package in the background.
func (r *reader) begin(ctx context.Context, p *pending, file string) {
	info, err := os.Stat(file)
	if err != nil {
		p.err = err
		close(p.done)
		return
	}
	// Packages are compressed to a third; what is rather more is counted too low, which is no harm.
	const ratio = 3
	p.weight = min(info.Size()*ratio, maxAhead)
	if err := r.memory.Acquire(ctx, p.weight); err != nil {
		p.err, p.weight = err, 0
		close(p.done)
		return
	}
	if err := r.workers.Acquire(ctx, 1); err != nil {
		p.err = err
		close(p.done)
		return
	}
	go func() {
		defer close(p.done)
		defer r.workers.Release(1)
		p.err = guard.Parse(func() error {
			var err error
			p.deb, err = r.readDeb(file)
			return err
		})
	}()
}

// wait returns the package when it has been read.
func (p *pending) wait() (*deb, error) {
	<-p.done
	return p.deb, p.err
}

// release drops the package.
func (p *pending) release() {
	<-p.done
	p.deb = nil
	p.reader.memory.Release(p.weight)
	p.weight = 0
}

// open opens a package, or the one of DerivedDir with the same members. The digest of the package must be that which
// names the other: its own name says little, since whoever wrote it may have replaced it.
func (r *reader) open(file string) (*os.File, error) {
	f, err := os.Open(file)
	if err != nil || r.packages == nil {
		return f, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if other, err := r.packages.Open(hex.EncodeToString(h.Sum(nil))); err == nil {
		return other, f.Close()
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readDeb reads a package into memory.
func (r *reader) readDeb(file string) (*deb, error) {
	f, err := r.open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := &deb{file: file}
	if err := d.readControl(f); err != nil {
		return nil, fmt.Errorf("read control.tar of %s: %w", file, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if err := d.readData(f); err != nil {
		return nil, fmt.Errorf("read data.tar of %s: %w", file, err)
	}
	return d, nil
}

func (d *deb) readControl(f io.Reader) error {
	plain, err := debfile.OpenControl(f)
	if err != nil {
		return err
	}
	defer plain.Close()
	text, err := readAll(plain)
	if err != nil {
		return err
	}
	t := tar.NewReader(bytes.NewReader(text))
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)[1:]
		if name == "" && h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Typeflag != tar.TypeReg || strings.Contains(name, "/") {
			return fmt.Errorf("%q is not a file of the directory", h.Name)
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		d.control = append(d.control, controlFile{name, h, data})
	}
	control := d.find("control")
	if control == nil {
		return errors.New("no file control")
	}
	d.text = string(control.data)
	stanzas, err := archive.ReadStanzas(strings.NewReader(d.text))
	if err != nil {
		return err
	}
	if len(stanzas) != 1 {
		return fmt.Errorf("the file control has %d stanzas", len(stanzas))
	}
	d.fields = stanzas[0]
	return nil
}

// realBackend is the program that reads packages for dpkg.
const realBackend = "dpkg-deb"

// dataTar returns data.tar of a package, whose path is file.
func dataTar(f *os.File, file string) ([]byte, error) {
	xz, err := debfile.DataIsXZ(f)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if !xz {
		plain, err := debfile.OpenData(f)
		if err != nil {
			return nil, err
		}
		defer plain.Close()
		return readAll(plain)
	}
	// Its decoder of xz is twice as fast as any in Go.
	cmd := exec.Command(realBackend, "--fsys-tarfile", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	text, err := readAll(out)
	return text, errors.Join(err, out.Close(), cmd.Wait())
}

func (d *deb) readData(f *os.File) error {
	text, err := dataTar(f, d.file)
	if err != nil {
		return err
	}
	source := bytes.NewReader(text)
	t := tar.NewReader(source)
	var links []member
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			d.members = append(d.members, links...)
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)
		if name == "/" {
			name = "/."
		}
		m := member{path: name, header: h}
		if h.Typeflag == tar.TypeReg {
			// The content is that part of the archive in memory: tar.Reader has read up to its beginning.
			begin := int64(len(text)) - int64(source.Len())
			if begin+h.Size > int64(len(text)) {
				return io.ErrUnexpectedEOF
			}
			m.content = text[begin : begin+h.Size]
		}
		if h.Typeflag == tar.TypeSymlink {
			links = append(links, m)
			continue
		}
		d.members = append(d.members, m)
	}
}

// errTooLarge is for archives that would take too much memory.
var errTooLarge = errors.New("too large to be held in memory")

// readAll reads an archive to its end, where its checksum is.
func readAll(r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, maxMember+1))
	if err == nil && n > maxMember {
		err = errTooLarge
	}
	return b.Bytes(), err
}
