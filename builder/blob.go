// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Blob is a file that is written to a fixed place of the disk, outside of all partitions: the firmware that a board's
// processor loads from there.
type Blob struct {
	// File is a file of the host, or, with Rootfs, of the root file system when it is complete.
	File   string
	Rootfs bool
	Offset diskimage.Size
	// copied is the copy of the host's file that Take has made.
	copied string
}

// rootfsPrefix marks a file of the root file system.
const rootfsPrefix = "rootfs:"

// ParseBlob reads FILE@OFFSET. The file's name may hold an @ itself.
func ParseBlob(text string) (Blob, error) {
	at := strings.LastIndex(text, "@")
	if at < 0 {
		return Blob{}, fmt.Errorf("%q is not FILE@OFFSET: where on the disk does it go?", text)
	}
	offset, err := diskimage.ParseSize(text[at+1:])
	if err != nil {
		return Blob{}, fmt.Errorf("%q is not FILE@OFFSET: %w", text, err)
	}
	b := Blob{Offset: offset}
	b.File, b.Rootfs = strings.CutPrefix(text[:at], rootfsPrefix)
	if b.File == "" {
		return Blob{}, fmt.Errorf("%q is not FILE@OFFSET: no file", text)
	}
	if b.Rootfs {
		b.File = path.Join("/", b.File)
	}
	return b, nil
}

// String is what ParseBlob reads.
func (b Blob) String() string { return b.name() + "@" + b.Offset.String() }

// name is the file as the user wrote it.
func (b Blob) name() string {
	if b.Rootfs {
		return rootfsPrefix + b.File
	}
	return b.File
}

// patch is the content of the blob for its place.
func (b Blob) patch(data []byte) (diskimage.Patch, error) {
	if len(data) == 0 {
		return diskimage.Patch{}, fmt.Errorf("--raw: %s is empty", b.name())
	}
	return diskimage.Patch{Offset: int64(b.Offset), Data: data, What: "--raw " + b.name()}, nil
}

// blobs reads what is written outside of partitions.
func (a assembler) blobs(d Disk) ([]diskimage.Patch, error) {
	var patches []diskimage.Patch
	for _, b := range d.Blobs {
		read, name := os.ReadFile, b.copied
		if b.Rootfs {
			read, name = a.ReadFile, b.File
		}
		data, err := read(name)
		if err != nil {
			return nil, fmt.Errorf("--raw: %w", err)
		}
		patch, err := b.patch(data)
		if err != nil {
			return nil, err
		}
		patches = append(patches, patch)
	}
	return patches, nil
}

// blobFiles: what comes from the host is there, and is a file with something in it.
func blobFiles(s Spec) []error {
	var problems []error
	for _, b := range s.o.Blobs {
		if b.Offset > maxBlobOffset {
			problems = append(problems, problem.New("--raw", "%s: the largest possible offset is %s", b,
				maxBlobOffset)...)
		}
		if b.Rootfs {
			continue
		}
		switch info, err := s.w.Stat(b.File); {
		case err != nil:
			problems = append(problems, &problem.Problem{Flag: "--raw", Err: err})
		case !info.Mode().IsRegular():
			problems = append(problems, problem.New("--raw", "%q is not a file", b.File)...)
		case info.Size() == 0:
			problems = append(problems, problem.New("--raw", "%q is empty", b.File)...)
		}
	}
	return problems
}

// maxBlobOffset keeps offsets inside an int64.
const maxBlobOffset = diskimage.Size(1) << 62

// claims are the places outside of partitions that are known to be taken before the build: by boot code, and by the
// host's blobs. A blob of the root file system, whose length nobody knows yet, takes its first byte.
func (s Spec) claims(d Disk) []diskimage.Claim {
	claims := d.Loader.Claims(d.Disk)
	for _, b := range d.Blobs {
		length := int64(1)
		if !b.Rootfs {
			if info, err := s.w.Stat(b.File); err == nil {
				length = info.Size()
			}
		}
		claims = append(claims, diskimage.Claim{Extent: diskimage.Extent{Offset: int64(b.Offset), Length: length},
			What: "--raw " + b.name()})
	}
	return claims
}

// diskWorks finds what is wrong with the disk as a whole, which can be said only when each option is right by itself:
// partitions that do not fit, a flag that the table does not have, blobs over something else.
func diskWorks(s Spec) []error {
	if s.o.Image == "" {
		return nil
	}
	d, err := newDisk(s, Lock{Codename: s.Codename()})
	if err != nil {
		return []error{&problem.Problem{Flag: "--image", Err: err}}
	}
	if len(d.Blobs) == 0 {
		return nil
	}
	var problems []error
	for _, err := range problem.Flatten(d.Layout.CheckFree(s.claims(d))) {
		problems = append(problems, &problem.Problem{Flag: "--raw", Err: err})
	}
	return problems
}
