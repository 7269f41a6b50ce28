// SPDX-License-Identifier: Apache-2.0

// Command bench measures how fast diskimage writes disks, compared with other programs that do the same and
// with a plain copy of the same bytes, all in one run on one machine: "make bench-disk".
//
// It needs a Debian root file system: a tar archive (-tar), which it makes with vmdebootstrap if it is
// missing, and the same as a directory (-dir), which it unpacks. Both are kept for the next run. Everything
// is read once before the measurement, so that the file cache is warm. Each program is started anew in each
// round, and programs take turns. It prints the shortest and the median wall-clock time, the least processor
// time (user and system) and the highest memory peak (ru_maxrss). Ratios are those of the shortest times, in
// brackets the median of the ratios of each round, and those of processor times.
//
// It needs dd, GNU tar, mke2fs and e2fsck, and qemu-img for qcow2. Owners are lost unless root unpacks the
// directory, which does not change the time. Reading from the disk is not measured. Writing to it is measured
// where a row says fsync, and in the row of mke2fs, which always calls fsync. With fsync, ours bypasses the
// page cache where that is faster (ext4, xfs), as vmdebootstrap does; the row of dd that does the same shows
// the limit of the disk.
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

// options holds the options of the command line.
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

// bench is the whole program, except for the writers, which are separate processes.
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
	// Debian's directories for mke2fs and e2fsck are not in an ordinary user's PATH.
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

// describe prints the circumstances of the measurement.
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

// kernel returns the release of the running kernel.
func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(release))
}

// firstLine returns the first line that a program prints to standard output or standard error.
func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return "no " + program
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
