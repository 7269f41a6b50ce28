// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"context"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
)

// DebID is what the control file of a .deb says it is.
type DebID struct{ Name, Version, Architecture string }

// FindDebs returns the digests of the cached .debs that are wanted. The control file of each .deb of the cache is read,
// but the digests are not verified.
func (c *Cache) FindDebs(ctx context.Context, wanted map[DebID]bool) (map[DebID]string, error) {
	all, err := c.list()
	if err != nil {
		return nil, err
	}
	found := map[DebID]string{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, f := range all {
		group.Go(func() error {
			control, err := debfile.ReadControl(ctx, f.path)
			if err != nil {
				return ctx.Err() // the cache has other files as well
			}
			stanzas, err := ReadStanzas(bytes.NewReader(control))
			if err != nil || len(stanzas) != 1 {
				return nil
			}
			s := stanzas[0]
			id := DebID{s.Get("Package"), s.Get("Version"), s.Get("Architecture")}
			mu.Lock()
			defer mu.Unlock()
			if wanted[id] {
				found[id] = filepath.Base(f.path)
			}
			return nil
		})
	}
	return found, group.Wait()
}
