// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// CustomPackages installs .deb files of the user; what they depend on comes from the mirror.
type CustomPackages struct {
	base
	// Files are the copies that Take has made.
	Files []string `json:"-"`
	// Names are those of the files: apt notes them in the image's logs. Digests are the SHA-256 digests.
	Names, Digests []string
	// Recommends installs what they recommend as well.
	Recommends bool `json:",omitempty"`
}

func (CustomPackages) Kind() string { return "custom.packages" }

func (CustomPackages) Kept() bool { return true }

func (c CustomPackages) Title() string {
	return "install " + strings.Join(c.Names, " ")
}

func (c CustomPackages) Run(ctx context.Context, s *Context) error {
	var mounts []specs.Mount
	args := []string{"install", recommendsOption(c.Recommends)}
	for i, file := range c.Files {
		// Two files may have one name; apt takes a word with a slash for a file.
		inside := fmt.Sprintf("/run/custom-packages/%d/%s", i, c.Names[i])
		mounts = append(mounts, target.Bind(file, inside, "ro"))
		args = append(args, inside)
	}
	return aptGet(ctx, s, mounts, args...)
}
