// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Disk is the content of an image file, open for reading. Several goroutines may use it at once.
type Disk struct {
	io.ReaderAt
	io.Closer
	Size int64
}

// OpenDisk opens the disk in an image file with qemu-nbd, until ctx is done. format is QEMU's name
// of the file's format. dir is for temporary files. The error is a *MissingError if qemu-nbd is not
// installed.
func OpenDisk(ctx context.Context, image, format, dir string) (*Disk, error) {
	// With --fork the program returns when its daemon accepts connections. The daemon ends with the
	// first connection.
	socket := filepath.Join(dir, "nbd")
	err := runTool(ctx, "qemu-nbd", "--fork", "--read-only", "--format", format, "--socket", socket, image)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", image, err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("read %s with qemu-nbd: %w", image, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c := &nbdClient{conn: conn}
	size, err := c.handshake()
	if err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("read %s with qemu-nbd: %w", image, err), conn.Close())
	}
	return &Disk{c, conn, int64(size)}, nil
}

// Patch is a change of a few bytes of a disk.
type Patch struct {
	Offset int64
	Data   []byte
}

// Overlay makes a qcow2 file in dir that has the disk of an image with some changes, and keeps what
// a machine writes. The image stays as it is, and must stay. The error is a *MissingError if
// qemu-img or qemu-io is not installed.
func Overlay(ctx context.Context, image, format, dir string, patches []Patch) (name string, err error) {
	name = filepath.Join(dir, "overlay.qcow2")
	data := filepath.Join(dir, "patch")
	err = runTool(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", image, name)
	for _, p := range patches {
		if err == nil {
			err = os.WriteFile(data, p.Data, 0o600)
		}
		if err == nil {
			// The name has no blank: dir is a temporary directory of this program.
			err = runTool(ctx, "qemu-io", "-f", "qcow2", "-c",
				fmt.Sprintf("write -q -s %s %d %d", data, p.Offset, len(p.Data)), name)
		}
	}
	if err != nil {
		return "", fmt.Errorf("make an overlay of %s: %w", image, err)
	}
	return name, nil
}

// runTool runs a program of qemu-utils.
func runTool(ctx context.Context, name string, args ...string) error {
	program, err := exec.LookPath(name)
	if err != nil {
		return &MissingError{name, "qemu-utils"}
	}
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// nbdClient reads from a server of network block devices. It asks one question at a time.
// Source: doc/proto.md of https://github.com/NetworkBlockDevice/nbd.
type nbdClient struct {
	mu   sync.Mutex
	conn io.ReadWriter
}

const (
	nbdMagic         = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOption        = 0x49484156454f5054 // "IHAVEOPT"
	nbdExportName    = 1
	nbdFixedNewstyle = 1 << 0
	nbdNoZeroes      = 1 << 1
	nbdRequestMagic  = 0x25609513
	nbdReplyMagic    = 0x67446698
	nbdRead          = 0
	// nbdMaxRead is what every server must support.
	nbdMaxRead = 32 << 20
)

// nbdGreeting is what the server sends first.
type nbdGreeting struct {
	Magic, Option uint64 // 0, 8
	Flags         uint16 // 16
}

// nbdChoice is the client's answer: the default export, whose name is empty.
type nbdChoice struct {
	Flags  uint32 // 0
	Option uint64 // 4: nbdOption
	Type   uint32 // 12: nbdExportName
	Length uint32 // 16: of the name
}

// nbdExport describes the export.
type nbdExport struct {
	Size  uint64 // 0
	Flags uint16 // 8
}

// nbdRequest asks for Length bytes.
type nbdRequest struct {
	Magic       uint32 // 0
	Flags, Type uint16 // 4, 6
	Cookie      uint64 // 8
	Offset      uint64 // 16
	Length      uint32 // 24
}

// nbdReply precedes the bytes if Error is 0.
type nbdReply struct {
	Magic, Error uint32 // 0, 4
	Cookie       uint64 // 8
}

// handshake chooses the default export, and returns its size.
func (c *nbdClient) handshake() (size uint64, err error) {
	var greeting nbdGreeting
	if err := binary.Read(c.conn, binary.BigEndian, &greeting); err != nil {
		return 0, err
	}
	if greeting.Magic != nbdMagic || greeting.Option != nbdOption ||
		greeting.Flags&(nbdFixedNewstyle|nbdNoZeroes) != nbdFixedNewstyle|nbdNoZeroes {
		return 0, errors.New("the server speaks another protocol")
	}
	choice := nbdChoice{Flags: nbdFixedNewstyle | nbdNoZeroes, Option: nbdOption, Type: nbdExportName}
	if err := binary.Write(c.conn, binary.BigEndian, choice); err != nil {
		return 0, err
	}
	var export nbdExport
	err = binary.Read(c.conn, binary.BigEndian, &export)
	return export.Size, err
}

// ReadAt implements io.ReaderAt. At the end of the disk the server's error is returned.
func (c *nbdClient) ReadAt(p []byte, offset int64) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(p) {
		part := p[n:min(len(p), n+nbdMaxRead)]
		request := nbdRequest{Magic: nbdRequestMagic, Type: nbdRead, Offset: uint64(offset) + uint64(n),
			Length: uint32(len(part))}
		if err := binary.Write(c.conn, binary.BigEndian, request); err != nil {
			return n, err
		}
		var reply nbdReply
		if err := binary.Read(c.conn, binary.BigEndian, &reply); err != nil {
			return n, err
		}
		if reply.Magic != nbdReplyMagic || reply.Error != 0 {
			return n, fmt.Errorf("read %d bytes at %d: error %d of the server", len(part), offset, reply.Error)
		}
		if _, err := io.ReadFull(c.conn, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}
