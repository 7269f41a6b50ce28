// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"strings"
)

// divert makes dpkg keep the files, installed or not, under other names; see dpkg-divert(1).
func (s *Context) divert(ctx context.Context, files ...string) error {
	const script = `for file; do dpkg-divert --quiet --local --rename --add "$file" || exit; done`
	if err := s.inTarget(ctx, append([]string{"sh", "-c", script, "sh"}, files...)...); err != nil {
		return fmt.Errorf("divert %s: %w", strings.Join(files, " and "), err)
	}
	return nil
}

// undivert removes what replaced diverted files, and gives them their names back.
func (s *Context) undivert(ctx context.Context, files ...string) error {
	for _, file := range files {
		if err := s.Target.Remove(file); err != nil {
			return err
		}
	}
	const script = `for file; do dpkg-divert --quiet --local --rename --remove "$file" || exit; done`
	if err := s.inTarget(ctx, append([]string{"sh", "-c", script, "sh"}, files...)...); err != nil {
		return fmt.Errorf("end the diversions of %s: %w", strings.Join(files, " and "), err)
	}
	return nil
}
