// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"slices"
	"testing"
)

func TestRemovalsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	var r removals
	var order []int
	gate, stuck := make(chan struct{}), errors.New("stuck")
	for i := range 4 {
		r.add("a layer", func() error {
			<-gate
			order = append(order, i)
			if i == 1 {
				return stuck
			}
			return nil
		})
	}
	close(gate) // add has returned before anything was removed
	if err := r.wait(); !errors.Is(err, stuck) || err.Error() != "remove a layer: stuck" {
		t.Errorf("got error %v", err)
	}
	if !slices.Equal(order, []int{0, 1, 2, 3}) {
		t.Errorf("removed in the order %v", order)
	}
	r.add("another", func() error { return nil })
	if err := r.wait(); err != nil {
		t.Errorf("the error is reported again: %v", err)
	}
}
