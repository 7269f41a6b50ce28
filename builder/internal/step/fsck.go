// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Fsck has the initramfs check the root file system before it is mounted. initramfs-tools put in the fsck of
// the type that they find on the device of /, which a container has not. Of other types systemd checks what
// is mounted read-only, but fsck.f2fs cannot open that.
type Fsck struct {
	base
	Type string
}

func (Fsck) Kind() string { return "fsck" }

func (f Fsck) Title() string { return "have the initramfs check the " + f.Type }

// FsckConfig is a part of initramfs.conf(5).
const FsckConfig = "/etc/initramfs-tools/conf.d/vmdebootstrap-fsck"

func (f Fsck) Run(_ context.Context, s *Context) error {
	if there, err := target.Exists(s.Target, "/etc/initramfs-tools"); err != nil || !there {
		return err
	}
	return WriteFileIn(s.Target, FsckConfig, fmt.Sprintf("# Written by vmdebootstrap.\nFSTYPE=%s\n", f.Type), 0o644)
}
