// SPDX-License-Identifier: Apache-2.0

// Command bench measures how fast diskimage writes disks, next to the programs that do the same and to a plain copy of
// the same bytes, all in one run on one machine: "make bench-disk".
//
// It needs a Debian root file system: a tar archive (-tar), which it makes with the vmdebootstrap that it is given if
// there is none, and the same as a directory (-dir), which it unpacks. Both stay, for the next run. Everything is read
// once before it is measured, so that the file cache is warm. Each program is started anew for each round, programs
// take turns, and what is printed are the best wall-clock time, the median of it, the least processor time (user and
// system) and the highest peak of memory (ru_maxrss). Ratios are of the best times, in brackets the median of those
// within the rounds, and of processor times.
//
// Needed: dd, GNU tar, mke2fs and e2fsck; qemu-img for qcow2. Owners are lost where the directory is not unpacked by
// root, which changes nothing about the time. Reading from the disk is not measured. Writing to it is where a row says
// fsync, and in the row of mke2fs, which calls it by itself. With fsync ours writes past the page cache where that is
// faster (ext4, xfs), as vmdebootstrap does; the row of dd that does the same shows what the disk can do.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// options are those of the command line.
type options struct {
	tar, dir, work, builder string
	rounds, files           int
	size                    diskimage.Size
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := bench
	if len(os.Args) > 1 && os.Args[1] == writerCommand {
		run = func(ctx context.Context) error { return runWriter(ctx, os.Args[2:]) }
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is the whole program but for the writers, which are processes of their own.
func bench(ctx context.Context) error {
	o := options{size: 2 * diskimage.GiB}
	flag.StringVar(&o.work, "work", filepath.Join(os.TempDir(), "bench-disk"),
		"`directory` for everything that is written")
	flag.StringVar(&o.tar, "tar", "", "root file system, a tar `archive` (default: rootfs.tar in the work directory)")
	flag.StringVar(&o.dir, "dir", "", "root file system, a `directory` (default: rootfs in the work directory)")
	flag.StringVar(&o.builder, "vmdebootstrap", "./vmdebootstrap", "`program` that makes the archive if there is none")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each program is run")
	flag.IntVar(&o.files, "files", 1_000_000, "how many small files the largest tree has; 0 leaves it out")
	flag.Var(&o.size, "size", "of the file systems and images")
	flag.Parse()
	o.tar = cmp.Or(o.tar, filepath.Join(o.work, "rootfs.tar"))
	o.dir = cmp.Or(o.dir, filepath.Join(o.work, "rootfs"))
	// Debian keeps mke2fs and e2fsck where an ordinary user's PATH does not look.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	for _, name := range []*string{&o.tar, &o.dir, &o.work, &o.builder} {
		var err error
		if *name, err = filepath.Abs(*name); err != nil {
			return err
		}
	}
	if err := prepare(ctx, o); err != nil {
		return err
	}
	if err := describe(o); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, g := range groups(self, o) {
		if err := g.measure(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// describe prints what the figures are about.
func describe(o options) error {
	entries, bytes := 0, int64(0)
	for e, err := range diskimage.NewDirTree(o.dir).Entries() {
		if err != nil {
			return err
		}
		entries++
		if e.HardLink == "" {
			bytes += e.Size
		}
	}
	archive, err := os.Stat(o.tar)
	if err != nil {
		return err
	}
	fmt.Printf("tree       %s: %d entries, %d MiB in files\n", o.dir, entries, bytes>>20)
	fmt.Printf("archive    %s: %d MiB\n", o.tar, archive.Size()>>20)
	fmt.Printf("machine    %d processors, %s; %d rounds, warm cache\n", runtime.NumCPU(), kernel(), o.rounds)
	fmt.Printf("references %s; %s\n", firstLine("mke2fs", "-V"), firstLine("qemu-img", "--version"))
	return nil
}

// kernel is the release of the running kernel.
func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(release))
}

// firstLine is the first line that a program prints, wherever it prints it.
func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return "no " + program
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
