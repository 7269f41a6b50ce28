// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot/snapshottest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// Issue 15, 16: --no-cache made the toolbox again in each build.
func TestToolboxIsTakenFromTheStoreWithoutACache(t *testing.T) {
	t.Parallel()
	x := &Executor{
		Engine: &snapshottest.Engine{}, Cache: snapshot.Settings{Rebuild: true},
		Progress: progress.New(func(e progress.Event) { t.Errorf("%+v: the toolbox was not asked for", e) }, time.Now, nil),
	}
	index := toolIndex(t, slices.Concat(toolboxPackages, []string{"mke2fs", "e2fsprogs", "squashfs-tools"})...)
	// The engine has no content: asked for the snapshot of that name, it says that it cannot give it.
	if _, err := x.toolbox(t.Context(), mustSpec(t, nil), Sources{Toolbox: index}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
