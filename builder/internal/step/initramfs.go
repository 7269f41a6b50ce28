// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Kernel packages make an initramfs when they are configured, initramfs-tools' trigger makes it again, and a hook that
// adds a module would make it a third time. On an emulated architecture each run takes minutes. So the program is
// diverted while packages are installed, and run once at the end.
//
// A file can have one diversion. live-tools has one of this program for good: so ours is the same, in its name. If it
// is installed meanwhile, its preinst finds what it wants (dpkg-divert(1), --add), its own program takes the place of
// ours, and calls the real one.
const (
	UpdateInitramfs         = "/usr/sbin/update-initramfs"
	UpdateInitramfsDiverted = UpdateInitramfs + ".orig.initramfs-tools"
	UpdateInitramfsStandIn  = "#!/bin/sh\n# The initramfs is made once, when the root file system is complete.\nexit 0\n"
)

// initramfsDiversion is that of live-tools.
var initramfsDiversion = diversion{UpdateInitramfs, UpdateInitramfsDiverted, []string{"--package", "live-tools"}}

// noInitramfs is a variable that keeps the hooks of kernels from making an initramfs (/etc/kernel/postinst.d of dracut
// and of initramfs-tools). That of dracut does not call update-initramfs.
const noInitramfs = "INITRD=No"

// holdInitramfs diverts update-initramfs, whether it is already installed or not.
func holdInitramfs(ctx context.Context, s *Context) error {
	if held, err := target.Exists(s.Target, UpdateInitramfsDiverted); err != nil || held {
		return err
	}
	if err := s.divert(ctx, initramfsDiversion); err != nil {
		return err
	}
	if own, err := target.Exists(s.Target, UpdateInitramfs); err != nil || own { // that of live-tools
		return err
	}
	return s.Target.WriteFile(UpdateInitramfs, []byte(UpdateInitramfsStandIn), 0o755)
}

// Initramfs makes the initramfs of each kernel in the target, once.
type Initramfs struct{ base }

func (Initramfs) Kind() string { return "initramfs" }

func (Initramfs) Title() string { return "make the initramfs" }

func (i Initramfs) Run(ctx context.Context, s *Context) (err error) {
	if text, err := s.Target.ReadFile(UpdateInitramfs); err == nil && string(text) == UpdateInitramfsStandIn {
		if err := s.undivert(ctx, initramfsDiversion); err != nil {
			return err
		}
	}
	if exists, err := target.Exists(s.Target, UpdateInitramfs); err != nil || !exists {
		return err
	}
	kernels, err := target.BootFiles(s.Target, "vmlinuz-", "vmlinux-")
	if err != nil {
		return fmt.Errorf("look for kernels: %w", err)
	}
	var versions, old []string
	for _, kernel := range kernels {
		_, version, _ := strings.Cut(kernel, "-")
		exists, err := target.Exists(s.Target, "/boot/initrd.img-"+version)
		if err != nil {
			return err
		}
		versions = append(versions, version)
		if exists {
			old = append(old, version)
		}
	}
	update := func() error {
		for _, version := range versions {
			action := "-c"
			if slices.Contains(old, version) {
				action = "-u"
			}
			err := s.withInitramfsFunctions(func(mounts []specs.Mount) error {
				return s.InTargetWith(ctx, mounts, "", "update-initramfs", action, "-k", version)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	restore, err := s.hideMachineID()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	reusable, err := initramfsReusable(s.Target)
	if err != nil {
		return err
	}
	if s.Outputs == nil || len(versions) == 0 || len(old) > 0 || !reusable {
		return update()
	}
	return s.Outputs.Make(ctx, s.Target, Output{
		Kind: i.Kind(), Title: i.Title(), Program: "initramfs of " + strings.Join(versions, " and "),
		InputDirs: initramfsInputDirs, KeyFiles: []string{"/etc/fstab", CrypttabName}, OutputDirs: initramfsOutputDirs,
		Mentions: outputMentions, Ignored: initramfsIgnores,
	}, update)
}

// hideMachineID gives the target the machine ID that MachineID will give it, until restore: dracut copies that of the
// build into the initramfs otherwise, which all copies of the image would share.
func (s *Context) hideMachineID() (restore func() error, err error) {
	none := func() error { return nil }
	if s.KeepIdentity {
		return none, nil
	}
	info, err := s.Target.Lstat(machineIDName)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() == 0) {
		return none, nil
	}
	if err != nil {
		return nil, err
	}
	id, err := s.Target.ReadFile(machineIDName)
	if err != nil {
		return nil, err
	}
	if err := s.Target.WriteFile(machineIDName, []byte(uninitialized), info.Mode()); err != nil {
		return nil, err
	}
	return func() error { return s.Target.WriteFile(machineIDName, id, info.Mode()) }, nil
}

// outputMentions reports whether an output of update-initramfs contains one of the IDs.
func outputMentions(name string, data []byte, ids []string) bool {
	if strings.HasPrefix(name, "/boot/initrd.img-") {
		return initramfsMentions(data, ids)
	}
	return slices.ContainsFunc(ids, func(id string) bool { return bytes.Contains(data, []byte(id)) })
}

// initramfsInputDirs are directories whose files are inputs of an initramfs even if no program opens them.
var initramfsInputDirs = []string{
	"/etc/initramfs-tools", "/usr/share/initramfs-tools", "/etc/kernel", "/etc/modprobe.d", "/etc/modules-load.d",
}

// initramfsOutputDirs are the directories that update-initramfs writes to.
var initramfsOutputDirs = []string{"/boot", "/var/lib/initramfs-tools"}

// initramfsReusable reports whether all inputs of the initramfs are known. They are with initramfs-tools, unless
// MODULES=dep of initramfs.conf(5) makes them look at the hardware of the machine.
func initramfsReusable(t target.Target) (bool, error) {
	if exists, err := target.Exists(t, "/usr/sbin/mkinitramfs"); err != nil || !exists {
		return false, err
	}
	names, err := target.FilesBelow(t, []string{"/etc/initramfs-tools", "/usr/share/initramfs-tools/conf.d",
		"/usr/share/initramfs-tools/conf-hooks.d"})
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if info, err := t.Lstat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		text, err := t.ReadFile(name)
		if err != nil {
			return false, err
		}
		if modulesFromHardware.Match(text) {
			return false, nil
		}
	}
	return true, nil
}

// modulesFromHardware matches MODULES=dep, and values that only the shell can compute.
var modulesFromHardware = regexp.MustCompile(`(?m)^[^#\n]*\bMODULES=["']?(dep|\$)`)

// Fsck makes the initramfs check the root file system before mounting it. initramfs-tools include the fsck for the type
// of the device of /, but a container has no such device, so that no image had any.
type Fsck struct {
	base
	Type string
}

func (Fsck) Kind() string { return "fsck" }

func (f Fsck) Title() string { return "have the initramfs check the " + f.Type }

// FsckConfig is a configuration file of initramfs-tools, see initramfs.conf(5).
const FsckConfig = "/etc/initramfs-tools/conf.d/vmdebootstrap-fsck"

func (f Fsck) Run(_ context.Context, s *Context) error {
	if exists, err := target.Exists(s.Target, "/etc/initramfs-tools"); err != nil || !exists {
		return err
	}
	return target.WriteFileIn(s.Target, FsckConfig, fmt.Sprintf("# Written by vmdebootstrap.\nFSTYPE=%s\n",
		f.Type), 0o644)
}
