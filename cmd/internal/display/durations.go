// SPDX-License-Identifier: Apache-2.0

package display

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// maxDurations is how many steps are remembered. Above it, only those of the last build are.
const maxDurations = 1000

// Remember reads from a file how long steps took in earlier builds, from which the remaining time is estimated. Save
// adds those of this one.
func (d *Display) Remember(file string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durations = file
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &d.state.expected)
	}
	if err != nil {
		return fmt.Errorf("read how long the steps of earlier builds took: %w", err)
	}
	return nil
}

// Save writes how long steps took to the file of Remember, if there is one.
func (d *Display) Save(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.durations == "" || len(d.state.took) == 0 {
		return nil
	}
	all := map[string]time.Duration{}
	if len(d.state.expected)+len(d.state.took) <= maxDurations {
		maps.Copy(all, d.state.expected)
	}
	maps.Copy(all, d.state.took)
	err := os.MkdirAll(filepath.Dir(d.durations), 0o700)
	if err == nil {
		err = diskimage.WriteFile(ctx, d.durations, 0o600, func(f *os.File) error { return json.NewEncoder(f).Encode(all) })
	}
	if err != nil {
		return fmt.Errorf("save how long the steps took: %w", err)
	}
	return nil
}
