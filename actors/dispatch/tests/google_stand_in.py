"""A stand-in for Google Routes v2 that reads requests with Google's own published types.

Every body must parse as ComputeRouteMatrixRequest with nothing unknown in it, every field of the mask must exist in
RouteMatrixElement, and the limits that Google documents for a matrix are kept. Anything else is answered as Google
would, with 400 and the reason. Answers are written from RouteMatrixElement by Google's own JSON mapping, so zeros are
left out, and come in reverse order. Drive times are as the crow flies at 10 m/s.
"""

import json
import math
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.maps import routing_v2
from google.protobuf import json_format

PATH = "/distanceMatrix/v2:computeRouteMatrix"
MAX_ELEMENTS = 625
SPEED_MPS = 10.0


class Wrong(Exception):
    """What Google would answer 400 to."""


def metres(a, b):
    lat1, lon1, lat2, lon2 = map(math.radians, (a.latitude, a.longitude, b.latitude, b.longitude))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 12_742_000 * math.asin(math.sqrt(h))


def check_mask(mask):
    known = routing_v2.RouteMatrixElement.pb(routing_v2.RouteMatrixElement()).DESCRIPTOR
    names = {field.json_name for field in known.fields}
    if not mask:
        raise Wrong("FieldMask is a required parameter")
    for path in mask.split(","):
        if path.split(".")[0] not in names:
            raise Wrong(f"unknown field {path!r} in the field mask")
    if "status" not in mask.split(","):
        raise Wrong("without status in the mask a failed element can't be told from one without a route")
    return set(mask.split(","))


def checked(headers, body):
    if not headers.get("X-Goog-Api-Key"):
        raise Wrong("no API key")
    mask = check_mask(headers.get("X-Goog-FieldMask", ""))
    message = routing_v2.ComputeRouteMatrixRequest.pb(routing_v2.ComputeRouteMatrixRequest())
    try:
        json_format.Parse(body, message, ignore_unknown_fields=False)
    except json_format.ParseError as error:
        raise Wrong(f"not a ComputeRouteMatrixRequest: {error}") from error
    count = len(message.origins) * len(message.destinations)
    if not 0 < count <= MAX_ELEMENTS:
        raise Wrong(f"{count} elements; 1 to {MAX_ELEMENTS} are allowed")
    if message.travel_mode != routing_v2.RouteTravelMode.DRIVE:
        raise Wrong("this stand-in only drives")
    for place in [*message.origins, *message.destinations]:
        if place.waypoint.WhichOneof("location_type") != "location":
            raise Wrong("a waypoint without a location")
    return mask, message


def elements(mask, message):
    for i, origin in reversed(list(enumerate(message.origins))):
        for j, destination in reversed(list(enumerate(message.destinations))):
            start, end = (p.waypoint.location.lat_lng for p in (origin, destination))
            element = routing_v2.RouteMatrixElement(origin_index=i, destination_index=j)
            pb = routing_v2.RouteMatrixElement.pb(element)
            pb.status.SetInParent()
            # South of 40 degrees there is only water here.
            if min(start.latitude, end.latitude) < 40:
                pb.condition = routing_v2.RouteMatrixElementCondition.ROUTE_NOT_FOUND
            else:
                pb.condition = routing_v2.RouteMatrixElementCondition.ROUTE_EXISTS
                pb.distance_meters = round(metres(start, end))
                pb.duration.FromMilliseconds(round(metres(start, end) / SPEED_MPS * 1000))
            whole = json_format.MessageToDict(pb)
            yield {name: value for name, value in whole.items() if name in mask}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if self.path != PATH:
                raise Wrong(f"no method at {self.path}")
            self.answer(200, list(elements(*checked(self.headers, body))))
        except Wrong as wrong:
            self.answer(400, {"error": {"code": 400, "message": str(wrong), "status": "INVALID_ARGUMENT"}})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        sys.stderr.write("%s\n" % (args[0] % args[1:]))


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
