package builder

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// customPackagesStep installs .deb files of the user; what they depend on comes from the mirror.
type customPackagesStep struct {
	Files []string `json:"-"` // where they are does not matter
	// Digests are the SHA-256 digests of the files.
	Digests []string
	// Recommends installs what they recommend as well.
	Recommends bool `json:",omitempty"`
}

func (customPackagesStep) Kind() string { return "custom.packages" }

func (c customPackagesStep) Title() string {
	names := make([]string, len(c.Files))
	for i, file := range c.Files {
		names[i] = filepath.Base(file)
	}
	return "install " + strings.Join(names, " ")
}

func (c customPackagesStep) run(ctx context.Context, s *site) error {
	var mounts []specs.Mount
	args := []string{"install", recommendsOption(c.Recommends)}
	for i, file := range c.Files {
		// Two files may have one name; apt takes a word with a slash for a file.
		inside := fmt.Sprintf("/run/custom-packages/%d/%s", i, filepath.Base(file))
		mounts = append(mounts, bind(file, inside, "ro"))
		args = append(args, inside)
	}
	return aptGet(ctx, s, mounts, args...)
}
