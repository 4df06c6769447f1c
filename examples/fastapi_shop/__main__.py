"""The shop with all that it needs: `python -m fastapi_shop`, in the folder of the examples."""

from shop_play import play

UVICORN = ["-m", "uvicorn", "--port", "PORT", "--log-level", "warning"]

if __name__ == "__main__":
    play(
        make=["-m", "fastapi_shop.models"],
        server=[*UVICORN, "--workers", "2", "fastapi_shop.app:app"],
        worker=[
            *("-m", "py_api_saga", "worker"),
            *("--journal", "fastapi_shop.models:journal"),
            *("--modules", "fastapi_shop.operations"),
            *("--around", "fastapi_shop.models:session_per_call"),
        ],
    )
