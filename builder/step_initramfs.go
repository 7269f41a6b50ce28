package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Kernel packages make an initramfs when they are configured, initramfs-tools' trigger makes it again, and a hook
// that adds a module would a third time; under an emulated architecture each takes minutes. So the program is
// diverted while packages are installed, and run once at the end.
const (
	updateInitramfs         = "/usr/sbin/update-initramfs"
	updateInitramfsDiverted = updateInitramfs + ".diverted"
	updateInitramfsStandIn  = "#!/bin/sh\n# The initramfs is made once, when the root file system is complete.\nexit 0\n"
)

// holdInitramfs diverts update-initramfs, whether it is there already or will be installed.
func holdInitramfs(ctx context.Context, s *site) error {
	if held, err := target.Exists(s.target, updateInitramfsDiverted); err != nil || held {
		return err
	}
	if err := s.inTarget(ctx, "dpkg-divert", "--quiet", "--local", "--rename", "--divert", updateInitramfsDiverted,
		"--add", updateInitramfs); err != nil {
		return err
	}
	return s.target.WriteFile(updateInitramfs, []byte(updateInitramfsStandIn), 0o755)
}

// initramfsStep makes the initramfs of each kernel in the target, once.
type initramfsStep struct{ base }

func (initramfsStep) Kind() string { return "initramfs" }

func (initramfsStep) Title() string { return "make the initramfs" }

func (i initramfsStep) run(ctx context.Context, s *site) error {
	if text, err := s.target.ReadFile(updateInitramfs); err == nil && string(text) == updateInitramfsStandIn {
		if err := s.target.Remove(updateInitramfs); err != nil {
			return err
		}
		if err := s.inTarget(ctx, "dpkg-divert", "--quiet", "--local", "--rename", "--remove", updateInitramfs); err != nil {
			return err
		}
	}
	if there, err := target.Exists(s.target, updateInitramfs); err != nil || !there {
		return err
	}
	kernels, err := bootFiles(s.target, "vmlinuz-", "vmlinux-")
	if err != nil {
		return fmt.Errorf("look for kernels: %w", err)
	}
	var versions, old []string
	for _, kernel := range kernels {
		_, version, _ := strings.Cut(kernel, "-")
		there, err := target.Exists(s.target, "/boot/initrd.img-"+version)
		if err != nil {
			return err
		}
		versions = append(versions, version)
		if there {
			old = append(old, version)
		}
	}
	update := func() error {
		for _, version := range versions {
			action := "-c"
			if slices.Contains(old, version) {
				action = "-u"
			}
			if err := s.inTarget(ctx, "update-initramfs", action, "-k", version); err != nil {
				return err
			}
		}
		return nil
	}
	reusable, err := initramfsReusable(s.target)
	if err != nil {
		return err
	}
	if s.outputs == nil || len(versions) == 0 || len(old) > 0 || !reusable {
		return update()
	}
	return s.outputs.Make(ctx, s.target, output{
		Title: i.Title(), Program: "initramfs of " + strings.Join(versions, " and "),
		Whole: initramfsWhole, Places: initramfsPlaces, Mentions: outputMentions,
	}, update)
}

// outputMentions reports whether one of the ids is in an output of update-initramfs.
func outputMentions(name string, data []byte, ids []string) bool {
	if strings.HasPrefix(name, "/boot/initrd.img-") {
		return initramfsMentions(data, ids)
	}
	return slices.ContainsFunc(ids, func(id string) bool { return bytes.Contains(data, []byte(id)) })
}

// initramfsWhole are directories that can change what is in an initramfs, whatever the programs open in them.
var initramfsWhole = []string{
	"/etc/initramfs-tools", "/usr/share/initramfs-tools", "/etc/kernel", "/etc/modprobe.d", "/etc/modules-load.d",
}

// initramfsPlaces are the directories that update-initramfs writes to.
var initramfsPlaces = []string{"/boot", "/var/lib/initramfs-tools"}

// initramfsReusable reports whether it is known what the initramfs is made of. It is so with initramfs-tools, unless these are
// told to look at the machine that they run on, and at what is there: MODULES=dep of initramfs.conf(5).
func initramfsReusable(t target.Target) (bool, error) {
	if there, err := target.Exists(t, "/usr/sbin/mkinitramfs"); err != nil || !there {
		return false, err
	}
	names, err := filesBelow(t, []string{"/etc/initramfs-tools", "/usr/share/initramfs-tools/conf.d", "/usr/share/initramfs-tools/conf-hooks.d"})
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
		if modulesOfTheMachine.Match(text) {
			return false, nil
		}
	}
	return true, nil
}

var modulesOfTheMachine = regexp.MustCompile(`(?m)^[^#\n]*\bMODULES=["']?(dep|\$)`)

// bootFiles lists the names in /boot that begin with one of the prefixes, in byte order.
func bootFiles(t interface {
	ReadDir(name string) ([]fs.DirEntry, error)
}, prefixes ...string) ([]string, error) {
	entries, err := t.ReadDir("/boot")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		for _, prefix := range prefixes {
			if strings.HasPrefix(e.Name(), prefix) && e.Type().IsRegular() {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}
