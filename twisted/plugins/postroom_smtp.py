"""Makes ``twistd smtp`` known to Twisted's plugin system."""

from twisted.application.service import ServiceMaker

smtp = ServiceMaker("Postroom", "postroom.service.tap", "Receive, deliver and relay mail", "smtp")
