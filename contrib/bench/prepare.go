// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// prepare makes missing inputs and reads everything once.
func prepare(ctx context.Context, o options) error {
	if err := os.MkdirAll(o.work, 0o755); err != nil {
		return err
	}
	if !exists(o.tar) {
		// A release that stays the same, with packages of priority "important" and a kernel.
		err := visibly(ctx, o.work, o.builder, "--verbose", "--distribution", "bookworm", "--grub", "--tarball", o.tar)
		if err != nil {
			return fmt.Errorf("make root file system: %w", err)
		}
	}
	if !exists(o.dir) {
		if err := unpack(ctx, o); err != nil {
			return errors.Join(fmt.Errorf("unpack root file system: %w", err), os.RemoveAll(o.dir))
		}
	}
	if err := readAll(o.tar); err != nil {
		return err
	}
	return filepath.WalkDir(o.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return readAll(name)
	})
}

// unpack makes the directory from the archive.
func unpack(ctx context.Context, o options) error {
	if err := os.Mkdir(o.dir, 0o755); err != nil {
		return err
	}
	args := []string{"--extract", "--file", o.tar, "--directory", o.dir, "--numeric-owner"}
	if os.Geteuid() == 0 {
		args = append(args, "--preserve-permissions", "--xattrs", "--xattrs-include=*")
	} else {
		args = append(args, "--no-same-owner", "--exclude=./dev/*")
	}
	return visibly(ctx, o.work, "tar", args...)
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// readAll reads a file into the page cache.
func readAll(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

// visibly runs a program with its output on standard error.
func visibly(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	return nil
}

// mebibytes formats a size for programs that accept no units.
func mebibytes(s diskimage.Size) string { return fmt.Sprint(uint64(s / diskimage.MiB)) }
