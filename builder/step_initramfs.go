package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
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
	if held, err := exists(s.target, updateInitramfsDiverted); err != nil || held {
		return err
	}
	if err := s.inTarget(ctx, "dpkg-divert", "--quiet", "--local", "--rename", "--divert", updateInitramfsDiverted,
		"--add", updateInitramfs); err != nil {
		return err
	}
	return s.target.WriteFile(updateInitramfs, []byte(updateInitramfsStandIn), 0o755)
}

// initramfsStep makes the initramfs of each kernel in the target, once.
type initramfsStep struct{}

func (initramfsStep) Kind() string { return "initramfs" }

func (initramfsStep) Title() string { return "make the initramfs" }

func (initramfsStep) run(ctx context.Context, s *site) error {
	if text, err := s.target.ReadFile(updateInitramfs); err == nil && string(text) == updateInitramfsStandIn {
		if err := s.target.Remove(updateInitramfs); err != nil {
			return err
		}
		if err := s.inTarget(ctx, "dpkg-divert", "--quiet", "--local", "--rename", "--remove", updateInitramfs); err != nil {
			return err
		}
	}
	if there, err := exists(s.target, updateInitramfs); err != nil || !there {
		return err
	}
	kernels, err := bootFiles(s.target, "vmlinuz-", "vmlinux-")
	if err != nil {
		return fmt.Errorf("look for kernels: %w", err)
	}
	for _, kernel := range kernels {
		_, version, _ := strings.Cut(kernel, "-")
		action := "-c"
		if there, err := exists(s.target, "/boot/initrd.img-"+version); err != nil {
			return err
		} else if there {
			action = "-u"
		}
		if err := s.inTarget(ctx, "update-initramfs", action, "-k", version); err != nil {
			return err
		}
	}
	return nil
}

// bootFiles lists the names in /boot that begin with one of the prefixes, in byte order.
func bootFiles(t Files, prefixes ...string) ([]string, error) {
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
