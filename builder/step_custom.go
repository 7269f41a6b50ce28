package builder

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// customPackagesStep installs .deb files of the user; what they depend on comes from the mirror.
type customPackagesStep struct {
	base
	// Files are the copies that Take has made.
	Files []string `json:"-"`
	// Names are those of the files: apt notes them in the image's logs. Digests are the SHA-256 digests.
	Names, Digests []string
	// Recommends installs what they recommend as well.
	Recommends bool `json:",omitempty"`
}

func newCustomPackagesStep(o Options, lock Lock) customPackagesStep {
	c := customPackagesStep{Digests: lock.CustomPackages, Recommends: o.Recommends}
	for _, name := range o.CustomPackages {
		c.Files = append(c.Files, lock.Copy(name))
		c.Names = append(c.Names, filepath.Base(name))
	}
	return c
}

func (customPackagesStep) Kind() string { return "custom.packages" }

func (customPackagesStep) Kept() bool { return true }

func (c customPackagesStep) Title() string {
	return "install " + strings.Join(c.Names, " ")
}

func (c customPackagesStep) run(ctx context.Context, s *site) error {
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
