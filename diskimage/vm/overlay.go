// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Patch is a change of a few bytes of a disk.
type Patch struct {
	Offset int64
	Data   []byte
}

// Overlay makes a qcow2 file in dir that has the disk of an image with some changes, and keeps what
// a machine writes. The image stays as it is, and must stay. The error is a *MissingError if
// qemu-img or qemu-io is not installed.
func Overlay(ctx context.Context, image, format, dir string, patches []Patch) (name string, err error) {
	name = filepath.Join(dir, "overlay.qcow2")
	data := filepath.Join(dir, "patch")
	err = runTool(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", image, name)
	for _, p := range patches {
		if err == nil {
			err = os.WriteFile(data, p.Data, 0o600)
		}
		if err == nil {
			// The name has no blank: dir is a temporary directory of this program.
			err = runTool(ctx, "qemu-io", "-f", "qcow2", "-c",
				fmt.Sprintf("write -q -s %s %d %d", data, p.Offset, len(p.Data)), name)
		}
	}
	if err != nil {
		return "", fmt.Errorf("make an overlay of %s: %w", image, err)
	}
	return name, nil
}

// runTool runs a program of qemu-utils.
func runTool(ctx context.Context, name string, args ...string) error {
	program, err := exec.LookPath(name)
	if err != nil {
		return &MissingError{name, "qemu-utils"}
	}
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
