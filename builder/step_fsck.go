package builder

import (
	"context"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// fsckStep has the initramfs check the root file system before it is mounted. initramfs-tools put in the fsck of the type
// that they find on the device of /, which a container has not. Of other types systemd checks what is mounted read-only, but
// fsck.f2fs cannot open that.
type fsckStep struct {
	base
	Type string
}

func (fsckStep) Kind() string { return "fsck" }

func (f fsckStep) Title() string { return "have the initramfs check the " + f.Type }

// fsckConfig is a part of initramfs.conf(5).
const fsckConfig = "/etc/initramfs-tools/conf.d/vmdebootstrap-fsck"

func (f fsckStep) run(_ context.Context, s *site) error {
	if there, err := target.Exists(s.target, "/etc/initramfs-tools"); err != nil || !there {
		return err
	}
	return writeFileIn(s.target, fsckConfig, fmt.Sprintf("# Written by vmdebootstrap.\nFSTYPE=%s\n", f.Type), 0o644)
}
