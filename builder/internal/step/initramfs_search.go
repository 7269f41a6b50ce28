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

// An initramfs is a number of cpio archives, the last of them compressed
// (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).
const (
	cpioMagic  = "07070" // 1 with, 2 without checksums
	cpioEnd    = "TRAILER!!!"
	cpioHeader = 110
	cpioAlign  = 4
)

// initramfsMentions reports whether one of some words is in the files of an initramfs. What cannot be read may hold
// anything.
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

// cpioLength finds the end of an archive.
func cpioLength(data []byte) (int, error) {
	at := 0
	for at+cpioHeader <= len(data) {
		// Eight hexadecimal digits each: c_filesize is the seventh field behind the magic number, c_namesize
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
	return 0, errors.New("an archive of cpio has no end")
}

func align(n, to int) int { return (n + to - 1) / to * to }

// cpioMentions looks for words in a stream that begins as an archive.
func cpioMentions(r io.Reader, words []string) (bool, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(len(cpioMagic))
	if err != nil || string(head) != cpioMagic {
		return false, fmt.Errorf("no archive of cpio: %w", errors.Join(err, errors.ErrUnsupported))
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
