// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
)

// writerCommand is the first argument of the processes that write.
const writerCommand = "write"

// writer is one image to write.
type writer struct {
	dir, tar, format, profile string
	files                     int
	sync, state               bool
	size                      diskimage.Size
}

// runWriter writes an image of one partition that is the whole disk.
func runWriter(ctx context.Context, args []string) error {
	w := writer{}
	flags := flag.NewFlagSet(writerCommand, flag.ContinueOnError)
	flags.StringVar(&w.dir, "dir", "", "tree: a `directory`")
	flags.StringVar(&w.tar, "tar", "", "tree: an `archive`")
	flags.IntVar(&w.files, "files", 0, "tree: `number` of small files")
	flags.StringVar(&w.format, "format", format.Raw, "of the image")
	flags.BoolVar(&w.sync, "sync", false, "fsync the image")
	flags.BoolVar(&w.state, "state", false, "print how much memory the plan needs")
	flags.StringVar(&w.profile, "profile", "", "write a profile of the processor's time to `file`")
	flags.Var(&w.size, "size", "of the image")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("want one argument, the image")
	}
	if w.profile != "" {
		f, err := os.Create(w.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return w.write(ctx, flags.Arg(0))
}

// write plans and writes the image.
func (w writer) write(ctx context.Context, name string) (err error) {
	tree, done, err := w.tree()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	before := heap(w.state)
	volume, err := ext.Formatter{}.Plan(w.size, diskimage.Filesystem{
		Type: "ext4", Features: "1.44", UUID: uuid.New(), Seed: uuid.New(), Time: time.Now(),
	}, tree)
	if err != nil {
		return err
	}
	if w.state {
		bytes := heap(true) - before
		fmt.Printf("  plan of %d files: %d MB, %d bytes each\n", w.files, bytes/1e6, bytes/int64(w.files))
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	// Without -sync nothing waits for the disk, so the page cache is used.
	output := format.Output{File: file, Format: w.format, KeepInPageCache: !w.sync}
	err = format.Write(ctx, []format.Output{output}, filepath.Dir(name), disk{volume, w.size})
	if err == nil && w.sync {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// disk is a disk that is one file system.
type disk struct {
	diskimage.Volume
	size diskimage.Size
}

func (d disk) Size() diskimage.Size { return d.size }

func (d disk) Write(ctx context.Context, w diskimage.RawFile) error {
	if err := w.Truncate(int64(d.size)); err != nil {
		return err
	}
	return d.Volume.Write(ctx, w)
}

func (d disk) Data() ([]diskimage.Extent, bool) { return diskimage.VolumeData(d.Volume) }

// tree returns the tree to write, and a function to call when it is no longer needed.
func (w writer) tree() (diskimage.Tree, func() error, error) {
	nothing := func() error { return nil }
	switch {
	case w.files > 0:
		return smallFiles(w.files), nothing, nil
	case w.tar == "":
		return diskimage.NewDirTree(w.dir), nothing, nil
	}
	f, err := os.Open(w.tar)
	if err != nil {
		return nil, nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	tree, err := diskimage.NewTarTree(f, size)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return tree, f.Close, nil
}

// heap returns the memory in use if asked, else 0.
func heap(asked bool) int64 {
	if !asked {
		return 0
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
