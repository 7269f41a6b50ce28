// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// ReadControl reads the description of a .deb file from the file itself. Mirror, Filename and SHA256 stay empty.
func ReadControl(file string) (*Package, error) {
	f, err := diskimage.OpenRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var p *Package
	err = guard.Parse(func() (err error) {
		p, err = readControl(f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read package %s: %w", file, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p.Size = info.Size()
	return p, nil
}

func readControl(deb io.Reader) (*Package, error) {
	name, member, err := openMember(deb, "control.tar")
	if err != nil {
		return nil, err
	}
	plain, err := decompress(member, name)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	t := tar.NewReader(plain)
	for {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: no file \"control\" in it", name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if path.Clean(header.Name) != "control" {
			continue
		}
		packages, err := readPackages(io.LimitReader(t, maxControl), "")
		if err != nil {
			return nil, fmt.Errorf("%s: control: %w", name, err)
		}
		if len(packages) != 1 {
			return nil, fmt.Errorf("%s: control: %d stanzas instead of one", name, len(packages))
		}
		return packages[0], nil
	}
}

// maxControl limits the size of a control file; kernels of many modules have some ten kilobytes.
const maxControl = 4 << 20

// The header of a member of an ar archive: ASCII, filled up with blanks (ar(5), deb(5)).
const (
	arMagic      = "!<arch>\n"
	arNameEnd    = 16 // the name comes first, in GNU's variant with a slash at its end
	arSizeStart  = 48 // the member's length in decimal digits
	arSizeEnd    = 58
	arHeaderSize = 60
	arHeaderMark = "`\n" // the last two bytes of the header
)

// openMember finds the member of a .deb whose name is stem alone or with a suffix that tells its compression. The
// reader ends where the member does; that a .deb ends too early is an error of the reader.
func openMember(deb io.Reader, stem string) (name string, member io.Reader, err error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(deb, magic); err != nil || string(magic) != arMagic {
		return "", nil, errors.New("it is no .deb: it does not begin like an ar archive")
	}
	for {
		name, size, err := readArHeader(deb)
		if errors.Is(err, io.EOF) {
			return "", nil, fmt.Errorf("it has no member %s", stem)
		}
		if err != nil {
			return "", nil, err
		}
		if name == stem || strings.HasPrefix(name, stem+".") {
			return name, &wholeReader{deb, size}, nil
		}
		size += size % 2 // members begin at even offsets
		if _, err := io.CopyN(io.Discard, deb, size); err != nil {
			return "", nil, fmt.Errorf("skip member %q: %w", name, noEOF(err))
		}
	}
}

func readArHeader(r io.Reader) (name string, size int64, err error) {
	header := make([]byte, arHeaderSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return "", 0, err
	}
	name = strings.TrimSuffix(strings.TrimRight(string(header[:arNameEnd]), " "), "/")
	size, err = strconv.ParseInt(strings.TrimRight(string(header[arSizeStart:arSizeEnd]), " "), 10, 64)
	if err != nil || size < 0 || string(header[arHeaderSize-len(arHeaderMark):]) != arHeaderMark {
		return "", 0, errors.New("the header of a member is damaged")
	}
	return name, size, nil
}

// wholeReader reads the next left bytes of r, all of which have to be there.
type wholeReader struct {
	r    io.Reader
	left int64
}

func (w *wholeReader) Read(b []byte) (int, error) {
	if w.left == 0 {
		return 0, io.EOF
	}
	n, err := w.r.Read(b[:min(int64(len(b)), w.left)])
	if w.left -= int64(n); w.left > 0 {
		err = noEOF(err)
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// noEOF is for the end of a file where more was promised.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// openData returns the plain data.tar of a .deb. With xz, the path of that program, it decompresses .xz.
func openData(ctx context.Context, deb io.Reader, xz string) (io.ReadCloser, error) {
	name, member, err := openMember(deb, "data.tar")
	if err != nil {
		return nil, err
	}
	if xz != "" && path.Ext(name) == ".xz" {
		return startXZ(ctx, xz, member)
	}
	return decompress(member, name)
}

// xzProcess is a running xz -dc.
type xzProcess struct {
	io.ReadCloser
	cmd    *exec.Cmd
	errors bytes.Buffer
	ended  bool // all of its output was read
}

func startXZ(ctx context.Context, program string, in io.Reader) (io.ReadCloser, error) {
	p := &xzProcess{cmd: exec.CommandContext(ctx, program, "-dc")}
	p.cmd.Stdin, p.cmd.Stderr, p.cmd.Env = in, &p.errors, []string{}
	var err error
	if p.ReadCloser, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *xzProcess) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.ended = p.ended || errors.Is(err, io.EOF)
	return n, err
}

// Close ends the program. What it says is an error only if its output was wanted to the end.
func (p *xzProcess) Close() error {
	closeErr := p.ReadCloser.Close()
	err := p.cmd.Wait()
	if !p.ended {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", p.cmd.Path, err, bytes.TrimSpace(p.errors.Bytes()))
	}
	return closeErr
}
