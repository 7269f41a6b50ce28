// SPDX-License-Identifier: Apache-2.0

package diskimagetest

import (
	"strings"
	"testing"
	"time"
)

func TestBootRunsABootSector(t *testing.T) {
	t.Parallel()
	text := Boot(t, MarkerDisk(t, "disk,1.img"), BootOptions{Want: Marker, Timeout: time.Minute})
	if !strings.Contains(text, "SeaBIOS") {
		t.Errorf("no output of the firmware on the console:\n%s", text)
	}
}
