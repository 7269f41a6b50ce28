// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

// withGRUBProbe calls run with mounts that update-grub needs, while scripts with the results replace grub-probe and
// grub-mkrelpath in the target. These look for the devices of / and /boot, which do not exist yet; an empty file is
// mounted for each of them. root is where the program sees the target. Without answers nothing is replaced.
//
// The programs are diverted (dpkg-divert(1)) and not covered by mounts, so that run may install, upgrade and remove
// their packages.
func (s *Context) withGRUBProbe(ctx context.Context, root string, a grub.ProbeAnswers,
	run func(mounts []specs.Mount) error) error {
	if a == (grub.ProbeAnswers{}) {
		return run(nil)
	}
	dir, err := os.MkdirTemp(s.Tmp, "grub-probe-")
	if err != nil {
		return fmt.Errorf("make a directory for the replacements of devices: %w", err)
	}
	defer os.RemoveAll(dir)
	device := filepath.Join(dir, "device")
	if err := os.WriteFile(device, nil, 0o644); err != nil {
		return err
	}
	mounts := []specs.Mount{target.Bind(device, root+a.Root.Device(), "ro")}
	if a.Boot != nil {
		mounts = append(mounts, target.Bind(device, root+a.Boot.Device(), "ro"))
	}
	const probe, relpath = "/usr/sbin/grub-probe", "/usr/bin/grub-mkrelpath"
	if err := s.divert(ctx, probe, relpath); err != nil {
		return err
	}
	if err := s.Target.WriteFile(probe, grub.ProbeScript(a), 0o755); err != nil {
		return err
	}
	if err := s.Target.WriteFile(relpath, grub.RelpathScript(a), 0o755); err != nil {
		return err
	}
	if err := run(mounts); err != nil {
		return err
	}
	return s.undivert(ctx, probe, relpath)
}
