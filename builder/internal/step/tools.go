// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Tools returns the means to run programs that make file systems.
func (s *Context) Tools() filesystem.Tools {
	run := func(ctx context.Context, mounts []specs.Mount, stdin string, args ...string) (string, error) {
		s.Out.Reset()
		p := s.Command(args...)
		if len(s.Epoch) > 0 {
			// makes libxfs use the same generation numbers of inodes each time
			p.Env = append(p.Env, "DETERMINISTIC_SEED=1")
		}
		if err := s.Toolbox.Run(ctx, p, mounts, strings.NewReader(stdin), s.Out); err != nil {
			return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(s.Out.String()))
		}
		return s.Out.String(), nil
	}
	tree := func(dir string) diskimage.Tree { return target.Tree(s.Toolbox, dir) }
	return filesystem.Tools{Run: run, Tree: tree, TempDir: s.Tmp}
}
