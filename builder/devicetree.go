// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"path/filepath"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// deviceTreeFile begins a value of --dtb that names a file of the host. Other values are names of the kernel's package.
const deviceTreeFile = "file:"

// ownDeviceTree returns the file of the host that a value of --dtb names, if it names one.
func ownDeviceTree(value string) (file string, own bool) {
	return strings.CutPrefix(value, deviceTreeFile)
}

// deviceTree returns the device tree that a value of --dtb selects.
func deviceTree(value string, lock Lock) step.DeviceTree {
	file, own := ownDeviceTree(value)
	if !own {
		return step.DeviceTree{Name: value}
	}
	return step.DeviceTree{Name: filepath.Base(file), File: lock.Copy(file), Digest: lock.inputDigest(file)}
}

// deviceTreeMagic begins a device tree in binary form (Devicetree Specification 0.4, 5.2).
const deviceTreeMagic = "\xd0\x0d\xfe\xed"

// deviceTreeKnown: --dtb is for U-Boot, and names a device tree.
func deviceTreeKnown(s Spec) []error {
	if s.o.DTB == "" {
		return nil
	}
	var problems []error
	if !s.UsesUBoot() || s.o.Image == "" {
		problems = append(problems, problem.New("--dtb", "it needs --image and --boot=%s", boot.WordUBoot)...)
	}
	file, own := ownDeviceTree(s.o.DTB)
	if !own && strings.IndexAny(s.o.DTB, "/.") == 0 {
		return append(problems, problem.New("--dtb", "%q is no name of the kernel's package: a file of this machine is %s%s",
			s.o.DTB, deviceTreeFile, s.o.DTB)...)
	}
	if err := deviceTree(s.o.DTB, Lock{}).Check(); err != nil {
		return append(problems, problem.New("--dtb", "%w", err)...)
	}
	if !own {
		return problems
	}
	if _, err := s.w.Stat(file); err != nil || s.w.ReadFile == nil {
		if err != nil {
			problems = append(problems, problem.New("--dtb", "%w", err)...)
		}
		return problems
	}
	if data, err := s.w.ReadFile(file); err != nil {
		problems = append(problems, problem.New("--dtb", "%w", err)...)
	} else if !bytes.HasPrefix(data, []byte(deviceTreeMagic)) {
		problems = append(problems, problem.New("--dtb", "%s is no device tree in binary form: compile it with dtc", file)...)
	}
	return problems
}
