"""fastapi-proxy-lib as its manual shows it."""

import os

from fastapi_proxy_lib.fastapi.app import reverse_http_app

app = reverse_http_app(base_url=os.environ["UPSTREAM"] + "/")
