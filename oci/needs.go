package oci

import (
	"fmt"
)

// needUsers refuses work that gives files to others for good where there is nobody else.
func needUsers(work string) error {
	if isolation != IsolationSingle {
		return nil
	}
	return &HostError{
		Cause: fmt.Sprintf("%s needs subordinate ids", work),
		Cure:  "as root, run: apt install uidmap, and: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER; or write a tar file, an OCI image or a disk image",
	}
}

// needStore refuses work on the store of podman where that would be read and written otherwise than by podman: its overlays are
// root's, with trusted.* attributes, which are neither seen nor written in a user namespace.
func needStore() error {
	if isolation == IsolationUserNS && caller == 0 {
		return &HostError{
			Cause: "the store of root's podman cannot be used from a user namespace",
			Cure:  "use the isolation root, or write an OCI image and let podman pull that",
		}
	}
	return needUsers("the store of podman")
}
