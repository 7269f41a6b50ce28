package ext

import "testing"

func TestFeaturesFollowTheRelease(t *testing.T) {
	t.Parallel()
	tests := map[string]features{
		"": ext4Oldest, "wheezy": ext4Oldest, "jessie": ext4Oldest, "stretch": ext4Oldest,
		"buster": ext4Checksums, "bullseye": ext4Checksums, "bookworm": ext4Checksums, "kali-rolling": ext4Checksums,
		"trixie": ext4Newest, "forky": ext4Newest, "sid": ext4Newest, "unstable": ext4Newest,
	}
	for release, want := range tests {
		if got, err := featuresOf("ext4", release); err != nil || got != want {
			t.Errorf("ext4 of %q: got %#x, %v, want %#x", release, got, err, want)
		}
	}
	for _, release := range []string{"wheezy", "sid"} {
		if got, err := featuresOf("ext2", release); err != nil || got != baseFeatures {
			t.Errorf("ext2 of %q: got %#x, %v", release, got, err)
		}
	}
}
