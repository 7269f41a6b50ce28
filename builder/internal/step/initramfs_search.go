// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// An initramfs is a sequence of cpio archives. Only the last one may be compressed
// (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).
const (
	cpioMagic  = "07070" // 1 with, 2 without checksums
	cpioEnd    = "TRAILER!!!"
	cpioHeader = 110
	cpioAlign  = 4
)

// initramfsMentions reports whether the files of an initramfs contain one of the words. It returns true for
// data that it cannot read.
func initramfsMentions(data []byte, words []string) bool {
	if len(words) == 0 {
		return false
	}
	for rest := bytes.TrimLeft(data, "\x00"); len(rest) > 0; rest = bytes.TrimLeft(rest, "\x00") {
		if !bytes.HasPrefix(rest, []byte(cpioMagic)) {
			plain, err := tarfile.Decompress(bytes.NewReader(rest))
			if err != nil {
				return true
			}
			found, err := cpioMentions(plain, words)
			return found || err != nil || plain.Close() != nil
		}
		length, err := cpioLength(rest)
		if err != nil {
			return true
		}
		if found, err := cpioMentions(bytes.NewReader(rest[:length]), words); found || err != nil {
			return true
		}
		rest = rest[length:]
	}
	return false
}

// cpioLength returns the length of the archive at the start of data.
func cpioLength(data []byte) (int, error) {
	at := 0
	for at+cpioHeader <= len(data) {
		// Fields have eight hexadecimal digits. c_filesize is the seventh field after the magic number, c_namesize
		// the twelfth.
		size, err := strconv.ParseUint(string(data[at+54:at+62]), 16, 32)
		if err != nil {
			return 0, err
		}
		nameSize, err := strconv.ParseUint(string(data[at+94:at+102]), 16, 32)
		if err != nil {
			return 0, err
		}
		name := at + cpioHeader
		content := align(name+int(nameSize), cpioAlign)
		if content > len(data) || nameSize == 0 {
			break
		}
		if string(data[name:name+int(nameSize)-1]) == cpioEnd {
			return content, nil
		}
		at = align(content+int(size), cpioAlign)
	}
	return 0, errors.New("cpio archive without a trailer")
}

func align(n, to int) int { return (n + to - 1) / to * to }

// cpioMentions reports whether a stream that begins with a cpio archive contains one of the words.
func cpioMentions(r io.Reader, words []string) (bool, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(len(cpioMagic))
	if err != nil || string(head) != cpioMagic {
		return false, fmt.Errorf("not a cpio archive: %w", errors.Join(err, errors.ErrUnsupported))
	}
	longest := 0
	for _, word := range words {
		longest = max(longest, len(word))
	}
	const step = 1 << 20
	buf := make([]byte, 0, longest+step)
	for {
		n, err := io.ReadFull(in, buf[len(buf):len(buf)+step])
		buf = buf[:len(buf)+n]
		for _, word := range words {
			if bytes.Contains(buf, []byte(word)) {
				return true, nil
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		kept := copy(buf[:longest], buf[len(buf)-min(longest, len(buf)):])
		buf = buf[:kept]
	}
}
